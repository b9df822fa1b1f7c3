"""Finding mistakes in an annotation file in COCO's format, without opening any image."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pycocotools.mask as mask_util

# The tolerance in pixels for boxes that extend beyond the image. Depending on the annotation tool, a box that reaches
# the edge of the image ends at the centre of the last pixel or at its border.
_EDGE = 1.0


@dataclass
class Fault:
    """A kind of mistake in an annotation file.

    Attributes:
        what: The description of a single case of the mistake.
        cure: Advice on how to correct it.
        stops: Whether training would fail on it or misinterpret it.
        places: The names of the images and annotations with this mistake, at least one.
    """

    what: str
    cure: str
    stops: bool
    places: list[str]


# Whether each kind of mistake stops training, its description, and the advice.
_KINDS = {
    "image": (True, "an image without id, file_name, height or width", "add all four, height and width as integers"),
    "image_twice": (True, "an image id that another image has", "renumber the images and the image_ids"),
    "annotation": (
        True,
        "an annotation without id, image_id, category_id or a bbox of four numbers",
        "add all four; a bbox is left, top, width and height in pixels",
    ),
    "annotation_twice": (True, "an annotation id that another annotation has", "renumber the annotations"),
    "category": (True, "a category_id that is not among the categories", "add the category, or correct the id"),
    "ignore": (True, "an annotation marked as 'ignore', which Detectron2 rejects", "mark it as iscrowd instead"),
    "mask": (
        True,
        "a mask that is neither a list of polygons nor run-length encoded at the image's size",
        "write it as [[x0, y0, x1, y1, ...], ...], or as size (height, width) and counts",
    ),
    "no_mask": (
        True,
        "an object without a mask",
        "annotate it, or train only boxes: model.roi_heads.mask_in_features=null "
        "dataloader.train.mapper.use_instance_mask=false",
    ),
    "rle": (True, "a run-length encoded mask where polygons are expected", "set dataset.mask_format=bitmask"),
    "lone": (False, "an annotation of an image that is not listed, which is skipped", "list the image"),
    "file_twice": (False, "a file that is listed as two images", "list it once, with all its annotations"),
    "no_area": (False, "a box without area, from which nothing is learnt", "remove it, or correct width and height"),
    "outside": (
        False,
        "a box that extends beyond its image and is clipped",
        "check that boxes are stored as left, top, width and height, and that sizes are those of the image files",
    ),
    "polygon": (False, "a polygon of fewer than three points, which is skipped", "remove it, or draw it again"),
    "empty_mask": (
        False,
        "a mask without area, from which nothing is learnt",
        "remove the object, or draw its mask again",
    ),
}


def annotation_faults(content: dict, *, mask_format: str | None = None) -> list[Fault]:
    """Find the mistakes in an annotation file.

    Args:
        content: The content of the file from `read_annotations`; its categories must have ids.
        mask_format: The format of the masks that the model expects, `polygon` or `bitmask`; None if it uses no masks.

    Returns:
        One fault for each kind of mistake, those that stop training first.
    """
    places: dict[str, list[str]] = defaultdict(list)
    listed = _whole(content["images"], "image", _is_image, _file_name, places)
    names = Counter(image["file_name"] for image in listed)
    places["file_twice"] = [name for name, count in names.items() if count > 1]
    images = {image["id"]: image for image in listed}
    categories = {category["id"] for category in content["categories"]}
    for one in _whole(content["annotations"], "annotation", _is_annotation, _annotation_name, places):
        where, image = _annotation_name(one), images.get(one["image_id"])
        if image is None:
            places["lone"].append(where)
            continue
        for kind in _faults_of(one, image, categories=categories, mask_format=mask_format):
            places[kind].append(f"{where} of {image['file_name']}")
    return [
        Fault(what=what, cure=cure, stops=stops, places=places[kind])
        for kind, (stops, what, cure) in _KINDS.items()
        if places[kind]
    ]


def _whole(
    entries: list[dict],
    kind: str,
    is_whole: Callable[[dict], bool],
    name: Callable[[dict, int], str],
    places: dict[str, list[str]],
) -> list[dict]:
    """Return the images or annotations that have all required keys.

    Args:
        entries: All images, or all annotations, of the file.
        kind: The kind of the entries, `image` or `annotation`.
        is_whole: The function that checks whether an entry has all required keys.
        name: The function that returns the name of an entry for messages, given the entry and its index in the file.
        places: The places of mistakes by kind. The names of entries that lack a key or have a duplicate id are added.
    """
    found, ids = [], set()
    for number, entry in enumerate(entries):
        if not is_whole(entry):
            places[kind].append(name(entry, number))
            continue
        if entry["id"] in ids:
            places[f"{kind}_twice"].append(name(entry, number))
        ids.add(entry["id"])
        found.append(entry)
    return found


def _file_name(image: dict, number: int) -> str:
    return str(image.get("file_name", f"number {number}"))


def _annotation_name(one: dict, number: int | None = None) -> str:
    return f"annotation {one.get('id', f'number {number}')}"


def _is_image(image: dict) -> bool:
    sides = image.get("height"), image.get("width")
    return (
        type(image.get("id")) in (int, str)
        and isinstance(image.get("file_name"), str)
        and all(type(side) is int and side > 0 for side in sides)
    )


def _is_annotation(one: dict) -> bool:
    box = one.get("bbox")
    has_ids = all(type(one.get(key)) in (int, str) for key in ("id", "image_id", "category_id"))
    return has_ids and isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _faults_of(one: dict, image: dict, *, categories: set, mask_format: str | None) -> Iterator[str]:
    """Yield the kinds of mistakes in an annotation that has all required keys."""
    if one["category_id"] not in categories:
        yield "category"
    if one.get("ignore"):
        yield "ignore"
    left, top, width, height = one["bbox"]
    if width <= 0 or height <= 0:
        yield "no_area"
    elif not (
        min(left, top) >= -_EDGE and left + width <= image["width"] + _EDGE and top + height <= image["height"] + _EDGE
    ):
        yield "outside"
    mask = one.get("segmentation")
    if mask:
        yield from _faults_of_mask(mask, image)
    if mask_format is None or one.get("iscrowd"):  # crowds are not used in training
        return
    if not mask:
        yield "no_mask"
    elif isinstance(mask, dict) and mask_format == "polygon":
        yield "rle"


def _faults_of_mask(mask: object, image: dict) -> Iterator[str]:
    if isinstance(mask, dict):
        counts = mask.get("counts")
        if mask.get("size") != [image["height"], image["width"]] or not isinstance(counts, (list, str)):
            yield "mask"
        elif not (sum(counts[1::2]) if isinstance(counts, list) else mask_util.area(mask)):
            yield "empty_mask"
        return
    if not isinstance(mask, list) or not all(isinstance(points, list) for points in mask):
        yield "mask"
        return
    whole = [points for points in mask if len(points) >= 6 and len(points) % 2 == 0]
    if len(whole) < len(mask):
        yield "polygon"
    if not any(_area(points) for points in whole):
        yield "empty_mask"


def _area(points: list[float]) -> float:
    """Compute the area of a polygon x0, y0, x1, y1, ... with the shoelace formula."""
    xs, ys = points[::2], points[1::2]
    crossed = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in crossed)) / 2
