"""Write ShapeScenes in the layouts of the field; see README.md for the files."""

import json
import logging
import shutil
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from .kinds import CLASSES, THINGS
from .scenes import SPLITS, Scene, draw_scene

FOLDER = "shape_scenes"

_VERSION = 1  # raise it with every change that changes a pixel
_META = "meta.json"

logger = logging.getLogger(__name__)


def write(root: str | Path, *, seed: int = 0, num_train: int = 1000, num_val: int = 100, size: int = 128) -> Path:
    """Generate the data set, unless the same one is already there, and return its folder, `root`/shape_scenes.

    All files are written into a hidden folder beside it, which is renamed when it is complete: what is killed midway
    leaves nothing under the final name, and of two processes that generate at once the slower uses the other's files.

    Args:
        root: folder of all data sets, `$DETECTRON2_DATASETS`.
        seed: same seed, same files.
        num_train, num_val: images in each split.
        size: typical side of an image, in pixels.

    Raises:
        ValueError: the folder exists and was made with other settings or by another version.
    """
    folder = Path(root) / FOLDER
    meta = {
        "version": _VERSION,
        "seed": seed,
        "num_train": num_train,
        "num_val": num_val,
        "size": size,
        "classes": [kind.name for kind in CLASSES],
    }
    if folder.exists():
        _check_same(folder, wanted=meta)
        return folder
    logger.info("Generating ShapeScenes in %s", folder)
    unfinished = folder.with_name(f".{FOLDER}-{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        for split, count in zip(SPLITS, (num_train, num_val), strict=True):
            _write_split(unfinished, split=split, count=count, seed=seed, size=size)
        _write_json(unfinished / _META, meta)
        _move_into_place(unfinished, folder=folder, meta=meta)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def ensure(root: str | Path) -> Path:
    """The default data set under `root`, made on first use; see `write`."""
    return write(root)


def _check_same(folder: Path, *, wanted: dict[str, Any]) -> None:
    path = folder / _META
    got = json.loads(path.read_text()) if path.is_file() else {}
    wrong = [f"{key}: got {got.get(key)!r}, wanted {value!r}" for key, value in wanted.items() if got.get(key) != value]
    if wrong:
        raise ValueError(
            f"{folder} holds another ShapeScenes ({'; '.join(wrong)}). Remove that folder to have it made anew, "
            "or use another root ($DETECTRON2_DATASETS)."
        )


def _move_into_place(unfinished: Path, *, folder: Path, meta: dict[str, Any]) -> None:
    try:
        unfinished.rename(folder)
    except OSError:  # a folder that holds files is never replaced: somebody else was faster
        if not folder.exists():
            raise
        _check_same(folder, wanted=meta)


def _write_split(folder: Path, *, split: str, count: int, seed: int, size: int) -> None:
    """Write images, label maps and the instances of one split."""
    image_folder, label_folder = folder / "images" / split, folder / "annotations" / split
    image_folder.mkdir(parents=True)
    label_folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(range(count), desc=f"ShapeScenes {split}", unit="image", disable=None):
        scene = draw_scene(seed=seed, split=split, index=index, size=size)
        name = f"{index:06d}.png"
        _write_png(image_folder / name, scene.image[..., ::-1])
        _write_png(label_folder / name, scene.label)
        height, width = scene.label.shape
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for annotation in _annotations(scene):
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
    categories = [{"id": place + 1, "name": thing.name} for place, thing in enumerate(THINGS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write_json(folder / f"instances_{split}.json", content)


def _annotations(scene: Scene) -> list[dict[str, Any]]:
    """COCO annotations of the visible part of each thing, ids left out."""
    annotations = []
    for place, kind in enumerate(scene.thing_classes):
        code = coco_mask.encode(np.asfortranarray(scene.instances == place + 1, dtype=np.uint8))
        annotations.append(
            {
                "category_id": kind + 1,
                "bbox": coco_mask.toBbox(code).tolist(),
                "area": int(coco_mask.area(code)),
                "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
                "iscrowd": 0,
            }
        )
    return annotations


def _write_png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"could not write {path}")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))
