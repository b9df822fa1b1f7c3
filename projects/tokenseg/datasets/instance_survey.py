"""A survey of a detection data set: its images, the objects of each class, and the files that would stop training."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detectron2.data.detection_utils import SizeMismatchError
from tabulate import tabulate

from ..data.errors import UnreadableImage, UnsupportedImage
from ..data.images import check_image, opened_image, read_image
from .survey import Seen, describe_sizes, has_no_bytes, look_at_image


@dataclass
class Objects:
    """The objects of one class.

    Attributes:
        sides: The square root of the area of each object's box, in pixels; without crowds.
        crowds: The number of annotations that are crowds, which are not used in training.
        images: The number of images with at least one object that is not a crowd.
    """

    sides: list[float]
    crowds: int = 0
    images: int = 0


@dataclass
class SurveyedInstances:
    """A split of a detection data set with the facts about its files.

    Attributes:
        name: The name of the split, `train` or `test`.
        root: The folder of its images.
        classes: The names of the classes.
        objects: The objects in all images, by class in the order of `classes`.
        without: The number of images that have no objects except crowds.
        count: The number of images.
        seen: The facts about each image that was checked.
    """

    name: str
    root: str
    classes: Sequence[str]
    objects: list[Objects]
    without: int
    count: int
    seen: list[Seen]


def count_objects(records: Sequence[dict], *, num_classes: int) -> tuple[list[Objects], int]:
    """Collect the objects of each class, and count the images that have no objects except crowds.

    Args:
        records: The records in Detectron2's standard format, with boxes as left, top, width and height.
        num_classes: The number of classes.
    """
    objects, without = [Objects(sides=[]) for _ in range(num_classes)], 0
    for record in records:
        shown = set()
        for one in record["annotations"]:
            of_class = objects[one["category_id"]]
            if one.get("iscrowd"):
                of_class.crowds += 1
                continue
            shown.add(one["category_id"])
            of_class.sides.append(max(0.0, one["bbox"][2] * one["bbox"][3]) ** 0.5)
        for k in shown:
            objects[k].images += 1
        without += not shown
    return objects, without


def look_at_record(record: dict, mapper: Callable[[dict], dict]) -> Seen:
    """Read an image and its annotations as training does, and collect the facts about the image.

    Args:
        record: The record in Detectron2's standard format.
        mapper: The mapper of the training, without augmentations.
    """
    path = record["file_name"]
    seen = look_at_image(path)
    try:
        with opened_image(path) as image:
            check_image(image, path=path)
        mapper(record)
    except Exception as error:  # on damaged files, Pillow and Detectron2's mapper may raise exceptions of any type
        seen.message = " ".join(str(error).split()) or type(error).__name__
        seen.stop = _kind_of(error, seen, record)
    return seen


def _kind_of(error: Exception, seen: Seen, record: dict) -> str:
    if has_no_bytes(record["file_name"]):
        return "empty"
    if isinstance(error, UnsupportedImage):
        return "unsupported"
    if isinstance(error, SizeMismatchError):
        return "turned" if seen.orientation > 4 and seen.size == (record["height"], record["width"]) else "size"
    try:
        read_image(record["file_name"])
    except UnreadableImage as unreadable:
        seen.message = str(unreadable)
        return "image"
    return "other"


def describe_instances(split: SurveyedInstances) -> str:
    """Describe the images of a split, and the number and size of the objects of each class."""
    lines = [f"{split.name}: {split.count} images of {split.root}, {split.without} without objects"]
    rows = [
        (k, name, len(one.sides), one.images, statistics.median(one.sides) if one.sides else None, one.crowds)
        for k, (name, one) in enumerate(zip(split.classes, split.objects, strict=True))
    ]
    headers = ["class", "name", "objects", "images", "median side", "crowds"]
    return "\n".join([*lines, *describe_sizes(split.seen), tabulate(rows, headers=headers, floatfmt=".0f")])
