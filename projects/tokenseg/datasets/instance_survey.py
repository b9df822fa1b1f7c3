"""What the files of a data set for detection show: images, objects of every class, and what a training would refuse."""

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
        sides: The square roots of the areas of their boxes, in pixels.
        crowds: How many annotations of the class are crowds, which no training sees.
        images: How many images show an object that is no crowd.
    """

    sides: list[float]
    crowds: int = 0
    images: int = 0


@dataclass
class SurveyedInstances:
    """A part of a data set for detection, and all that was seen of it.

    Attributes:
        name: `train` or `test`.
        root: The folder of its images.
        classes: The names of the classes.
        objects: The objects of each class, in the order of `classes`, in all images.
        without: How many images have no object, or none but crowds.
        count: The number of images.
        seen: What its images show, or some of them.
    """

    name: str
    root: str
    classes: Sequence[str]
    objects: list[Objects]
    without: int
    count: int
    seen: list[Seen]


def count_objects(records: Sequence[dict], *, num_classes: int) -> tuple[list[Objects], int]:
    """Count the objects of every class, and the images without any that is no crowd.

    Args:
        records: The records, in Detectron2's standard format, with boxes as left, top, width and height.
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
    """Read an image and its annotations as the training does, and note what they are.

    Args:
        record: The record, in Detectron2's standard format.
        mapper: The training's, without augmentation.
    """
    path = record["file_name"]
    seen = look_at_image(path)
    try:
        with opened_image(path) as image:
            check_image(image, path=path)
        mapper(record)
    except Exception as error:  # whatever Pillow's readers and the mapper stumble over
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
    """Describe a part: its images, and how many objects of which size each class has."""
    lines = [f"{split.name}: {split.count} images of {split.root}, {split.without} without objects"]
    rows = [
        (k, name, len(one.sides), one.images, statistics.median(one.sides) if one.sides else None, one.crowds)
        for k, (name, one) in enumerate(zip(split.classes, split.objects, strict=True))
    ]
    headers = ["class", "name", "objects", "images", "median side", "crowds"]
    return "\n".join([*lines, *describe_sizes(split.seen), tabulate(rows, headers=headers, floatfmt=".0f")])
