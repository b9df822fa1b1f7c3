"""The user's own detection data: a folder of images and an annotation file in COCO's format, registered by a config."""

import hashlib
import json
import os
from collections.abc import Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from ..visualize import spread_colors
from .annotation_faults import annotation_faults
from .annotation_file import ordered_names, read_annotations
from .folders import fixed_share


def own_coco(
    *,
    split: str,
    images: str,
    annotations: str,
    classes: Sequence[str],
    test_images: str | None = None,
    test_annotations: str | None = None,
    held_out: float = 0.2,
) -> str:
    """Register the training or the test part of the user's own detection data, and return its registered name.

    Configs call this function for `dataset.train` and `dataset.test`. The files are read only when the records are
    requested.

    Args:
        split: The part to register, `train` or `test`.
        images: The folder of the images, to which the file names in `annotations` are relative.
        annotations: The annotation file of the training images, in COCO's format.
        classes: The class names; class i is `classes[i]`.
        test_images: The folder of the test images, by default `images`.
        test_annotations: The annotation file of the test images; with None, a part of the training images is held out
            for testing.
        held_out: The share of the images that is held out for testing if there is no annotation file for it.

    Returns:
        The registered name, which depends only on the arguments.

    Raises:
        ValueError: A folder of test images is given without an annotation file, or the share is not between 0 and 1.
    """
    if test_images is not None and test_annotations is None:
        raise ValueError(
            f"dataset.test_images is {test_images} without dataset.test_annotations; wanted both, or neither"
        )
    if not 0 < held_out < 1:
        raise ValueError(f"dataset.held_out is {held_out}; wanted a share between 0 and 1")
    part = (0.0, 1.0)
    if test_annotations is None:
        part = {"train": (held_out, 1.0), "test": (0.0, held_out)}[split]
    elif split == "test":
        images, annotations = test_images or images, test_annotations
    return register_coco_file(images=images, annotations=annotations, classes=classes, part=part)


def register_coco_file(
    *, images: str, annotations: str, classes: Sequence[str], part: tuple[float, float] = (0.0, 1.0)
) -> str:
    """Register a folder of images and its annotation file with Detectron2; see `own_coco`.

    Args:
        images: The folder of the images.
        annotations: The annotation file of the images.
        classes: The class names.
        part: The part of the images to use; see the argument `part` of `fixed_share`.
    """
    classes = [str(name) for name in classes]
    images, annotations = (os.path.abspath(os.path.expanduser(path)) for path in (images, annotations))
    settings = [images, annotations, classes, list(part)]
    name = f"own_{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}"
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, lambda: _records(name, images, annotations, classes=classes, part=part))
        MetadataCatalog.get(name).set(
            thing_classes=classes,
            thing_colors=[tuple(color) for color in spread_colors(len(classes)).tolist()],
            json_file=annotations,
            image_root=images,
            evaluator_type="coco",
        )
    return name


def _records(name: str, images: str, annotations: str, *, classes: list[str], part: tuple[float, float]) -> list[dict]:
    if not os.path.isdir(images):
        raise ValueError(f"the folder of images, '{images}', does not exist")
    content = read_annotations(annotations)
    found = ordered_names(content["categories"], path=annotations)
    if found != classes:
        raise ValueError(
            f"the annotation file '{annotations}' has the classes {', '.join(found)}, in the order of their ids; "
            f"wanted those of dataset.classes, in this order: {', '.join(classes)}"
        )
    faults = [fault for fault in annotation_faults(content) if fault.stops]
    if faults:
        raise ValueError(
            f"the annotation file '{annotations}' has {len(faults[0].places)} times {faults[0].what}, first "
            f"{faults[0].places[0]}; tools/check_dataset.py lists everything that is wrong with the file"
        )
    records = load_coco_json(annotations, images, name)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    chosen = set(fixed_share(set(names.values()), part=part, place=images))
    return [record for record in records if names[record["image_id"]] in chosen]
