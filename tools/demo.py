#!/usr/bin/env python
"""Segment any images.

    tools/demo.py --config-file C --weights W --input FILES_FOLDERS_OR_GLOBS --output DIR [--save overlay,ids,palette]
                  [key=value ...]

For every image, by the name of its file: `overlay` the classes over the image with their names, `ids` a PNG of class
ids, `palette` the same with the classes' colours as palette.
"""

import argparse
import glob
import os
import sys
from pathlib import Path

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.utils.visualizer import Visualizer
from PIL import Image
from tqdm import tqdm

from tokenseg import Predictor
from tokenseg.config.overrides import split_overrides
from tokenseg.visualize import palette

KINDS = ("overlay", "ids", "palette")
SUFFIXES = tuple(sorted(Image.registered_extensions()))


def find_images(inputs: list[str]) -> list[Path]:
    """Files named, all images of folders named, and what globs match, each once.

    Raises:
        ValueError: an input that is none of these, or no image at all.
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
        raise ValueError(f"no images in {', '.join(inputs)}; wanted files ending in one of {', '.join(SUFFIXES)}")
    return list(dict.fromkeys(found))


def output_names(images: list[Path]) -> dict[Path, str]:
    """The name of each image's outputs: its stem, with as much of the folder in front as keeps names apart."""
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
        kind: of `KINDS`.
        path: without suffix.
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) class ids.
        predictor: whose metadata names and colours the classes.
    """
    if kind == "overlay":
        metadata = predictor.metadata
        Visualizer(image, metadata).draw_sem_seg(torch.from_numpy(ids)).save(f"{path}_overlay.png")
        return
    picture = Image.fromarray(ids.astype(np.uint8 if ids.max() < 256 else np.uint16))
    if kind == "palette":
        picture.putpalette(palette(predictor.metadata).flatten().tolist())
    picture.save(f"{path}_{kind}.png")


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="config of the model; a run leaves its own as config.yaml")
    parser.add_argument("--weights", required=True, help="checkpoint of that model")
    parser.add_argument("--input", required=True, nargs="+", help="files, folders or globs")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    parser.add_argument("--save", default="overlay", help=f"one or more of {','.join(KINDS)}, joined by commas")
    words, overrides = split_overrides(argv)
    return parser.parse_args(words, namespace=argparse.Namespace(overrides=overrides))


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    kinds = args.save.split(",")
    wrong = set(kinds) - set(KINDS)
    if wrong:
        raise ValueError(f"--save has {', '.join(sorted(wrong))}; wanted some of {','.join(KINDS)}")
    images = find_images(args.input)
    predictor = Predictor(args.config_file, args.weights, overrides=args.overrides)
    args.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for path, name in tqdm(output_names(images).items(), unit="image"):
        try:
            image = utils.read_image(str(path), format="RGB")
        except (OSError, SyntaxError) as error:
            failed.append(f"{path}: {error}")
            continue
        ids = predictor(image)
        for kind in kinds:
            save(kind, args.output / name, image, ids, predictor)
    print(f"{len(images) - len(failed)} images segmented; {', '.join(kinds)} written to {args.output}")
    if failed:
        raise ValueError("these images could not be read:\n  " + "\n  ".join(failed))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"demo.py: error: {error}")
