"""Writing a level of ShapeScenes as images, label maps and COCO annotations; README.md describes the files."""

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

from .canvas import Scene
from .scenes import BASIC, SPLITS, Level, draw_scene

_META = "meta.json"

logger = logging.getLogger(__name__)


def write(
    root: str | Path,
    *,
    seed: int = 0,
    num_train: int | None = None,
    num_val: int | None = None,
    size: int | None = None,
    level: Level = BASIC,
) -> Path:
    """Generate a level, unless it already exists, and return its folder, such as `root`/shape_scenes.

    All files are written to a hidden folder next to the final one, which is renamed when it is complete. A run that is
    killed therefore leaves no incomplete folder under the final name. If two processes generate the same level
    simultaneously, the slower one uses the files of the other.

    Args:
        root: The folder of all data sets, `$DETECTRON2_DATASETS`.
        seed: The seed of the data set; the same seed yields the same files.
        num_train: The number of training images, by default that of the level.
        num_val: The number of validation images, by default that of the level.
        size: The typical side of an image in pixels, by default that of the level.
        level: The level to generate.

    Raises:
        ValueError: The folder exists and was generated with other settings or by another version.
    """
    folder = Path(root) / level.folder
    meta: dict[str, Any] = {
        "version": level.version,
        "seed": seed,
        "num_train": level.num_train if num_train is None else num_train,
        "num_val": level.num_val if num_val is None else num_val,
        "size": level.size if size is None else size,
        "classes": [kind.name for kind in level.classes],
    }
    if folder.exists():
        _check_same(folder, wanted=meta)
        return folder
    logger.info("Generating ShapeScenes in %s", folder)
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        for split in SPLITS:
            _write_split(unfinished, level, split=split, count=meta[f"num_{split}"], seed=seed, size=meta["size"])
        _write_json(unfinished / _META, meta)
        _move_into_place(unfinished, folder=folder, meta=meta)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def ensure(root: str | Path, level: Level = BASIC) -> Path:
    """Generate a level with its default settings unless it exists, and return its folder; see `write`."""
    return write(root, level=level)


def _check_same(folder: Path, *, wanted: dict[str, Any]) -> None:
    path = folder / _META
    got = json.loads(path.read_text()) if path.is_file() else {}
    wrong = [f"{key}: got {got.get(key)!r}, wanted {value!r}" for key, value in wanted.items() if got.get(key) != value]
    if wrong:
        raise ValueError(
            f"{folder} contains another ShapeScenes ({'; '.join(wrong)}). Remove that folder to have it generated "
            "again, or use another root ($DETECTRON2_DATASETS)."
        )


def _move_into_place(unfinished: Path, *, folder: Path, meta: dict[str, Any]) -> None:
    try:
        unfinished.rename(folder)
    except OSError:  # rename never replaces a folder that contains files; another process may have been faster
        if not folder.exists():
            raise
        _check_same(folder, wanted=meta)


def _write_split(folder: Path, level: Level, *, split: str, count: int, seed: int, size: int) -> None:
    """Write the images, the label maps and the COCO annotations of one split."""
    image_folder, label_folder = folder / "images" / split, folder / "annotations" / split
    image_folder.mkdir(parents=True)
    label_folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(range(count), desc=f"{level.folder} {split}", unit="image", disable=None):
        scene = draw_scene(seed=seed, split=split, index=index, size=size, level=level)
        name = f"{index:06d}.png"
        _write_png(image_folder / name, scene.image[..., ::-1])
        _write_png(label_folder / name, scene.label)
        height, width = scene.label.shape
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for annotation in _annotations(scene):
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
    categories = [{"id": place + 1, "name": thing.name} for place, thing in enumerate(level.things)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write_json(folder / f"instances_{split}.json", content)


def _annotations(scene: Scene) -> list[dict[str, Any]]:
    """Create the COCO annotations of the visible part of each thing, without ids."""
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
