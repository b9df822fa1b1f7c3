"""Segments any images: the body of the command `demo`."""

import argparse
import glob
import os
from pathlib import Path

import numpy as np
import torch
from detectron2.data.catalog import Metadata
from detectron2.utils.visualizer import Visualizer
from PIL import Image
from tqdm import tqdm

from ..data.images import read_image
from ..plain_text import plot_text
from ..predictor import Predictor
from ..visualize import palette

SUFFIXES = tuple(sorted(Image.registered_extensions()))


def find_images(inputs: list[str]) -> list[Path]:
    """Find the images that the inputs stand for, each once.

    Args:
        inputs: The paths of files, of folders whose images are all wanted, or globs.

    Raises:
        ValueError: An input is none of these, or there is no image at all.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True) if os.path.isfile(p))
            if not matches:
                raise ValueError(f"--input '{name}' is no file, no folder, and matches nothing as a glob")
            found += matches
    if not found:
        raise ValueError(f"no images in {', '.join(inputs)}; wanted files that end in .jpg, .png, .tif or the like")
    return list(dict.fromkeys(found))


def output_names(images: list[Path]) -> dict[Path, str]:
    """Name the outputs of each image: its stem, preceded by as much of its folder as keeps the names apart."""
    names = {path: path.stem for path in images}
    for depth in range(1, max(len(path.resolve().parts) for path in images)):
        clashing = [path for path in images if list(names.values()).count(names[path]) > 1]
        if not clashing:
            break
        for path in clashing:
            names[path] = "_".join([*path.resolve().parts[-1 - depth : -1], path.name.replace(".", "_")])
    return names


def save(kind: str, path: Path, image: np.ndarray, ids: np.ndarray, predictor: Predictor) -> None:
    """Write one kind of output.

    Args:
        kind: What to write: overlay, ids or palette.
        path: The path of the output, without its suffix.
        image: The image, (h, w, 3) uint8 RGB.
        ids: The class of each pixel, (h, w).
        predictor: The predictor, whose metadata names and colours the classes.
    """
    if kind == "overlay":
        metadata = predictor.metadata
        names = [plot_text(name) for name in metadata.stuff_classes]
        metadata = Metadata(**metadata.as_dict() | {"stuff_classes": names})
        Visualizer(image, metadata).draw_sem_seg(torch.from_numpy(ids)).save(f"{path}_overlay.png")
        return
    picture = Image.fromarray(ids.astype(np.uint8 if ids.max() < 256 else np.uint16))
    if kind == "palette":
        picture.putpalette(palette(predictor.metadata).flatten().tolist())
    picture.save(f"{path}_{kind}.png")


def main(args: argparse.Namespace) -> None:
    """Write what `args.save` lists for every image of `args.input`."""
    images = find_images(args.input)
    predictor = Predictor(args.config_file, args.weights, overrides=args.overrides, trust_config=args.trust_config)
    args.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for path, name in tqdm(output_names(images).items(), unit="image", disable=None):
        try:
            image = read_image(str(path))
        except ValueError as error:
            failed.append(str(error))
            continue
        ids = predictor(image)
        for kind in args.save:
            save(kind, args.output / name, image, ids, predictor)
    print(f"{len(images) - len(failed)} images segmented; {', '.join(args.save)} written to {args.output}")
    if failed:
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise ValueError(f"{len(failed)} of {len(images)} images could not be read: {'; '.join(failed[:3])}{more}")
