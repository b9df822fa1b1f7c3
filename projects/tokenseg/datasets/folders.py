"""Own data: pairs of folders of images and label maps, registered with Detectron2 from within a config."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..plain_text import unprintable
from .stored_ids import checked_colors, class_colors

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy")
# JPEG is missing on purpose: it does not keep ids.
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


def own_data(
    *,
    split: str,
    images: str,
    labels: str,
    test_images: str | None = None,
    test_labels: str | None = None,
    held_out: float = 0.2,
    **settings: Any,
) -> str:
    """Register the training or the test part of own data, and return the name; configs call this for `dataset.train`
    and `dataset.test`.

    Args:
        split: `train` or `test`.
        images: Folder of the training images.
        labels: Folder of their label maps.
        test_images: Folder of the test images; None keeps a part of the training images for the test.
        test_labels: Folder of their label maps.
        held_out: Share of the images for the test where it has no folders of its own.
        settings: `classes`, `ignore_label`, `id_map` and `colors` of `register_folders`.

    Raises:
        ValueError: Only one test folder, a share outside 0..1, or what `register_folders` refuses.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError(
            f"dataset.test_images is {test_images} and dataset.test_labels is {test_labels}; wanted both, or neither"
        )
    if not 0 < held_out < 1:
        raise ValueError(f"dataset.held_out is {held_out}; wanted a share between 0 and 1")
    if test_images is None or test_labels is None:
        part = {"train": (held_out, 1.0), "test": (0.0, held_out)}[split]
        return register_folders(images=images, labels=labels, part=part, **settings)
    if split == "test":
        images, labels = test_images, test_labels
    return register_folders(images=images, labels=labels, **settings)


def register_folders(
    *,
    images: str | PathLike,
    labels: str | PathLike,
    classes: Sequence[str],
    ignore_label: int = 255,
    id_map: Mapping[int, int | str] | None = None,
    colors: Sequence[Sequence[int]] | None = None,
    part: tuple[float, float] = (0.0, 1.0),
) -> str:
    """Register a pair of folders with Detectron2; the disk is read when the records are asked for.

    Args:
        images: Folder of images, with sub-folders.
        labels: Folder of label maps, each with the path and name of its image but for the suffix.
        classes: Names; class i is `classes[i]`.
        ignore_label: Class id of pixels that count nowhere.
        id_map: Stored id -> class id, or the word `ignore`; None takes the stored ids for class ids.
        colors: The colours in label maps that have colours, (red, green, blue) of 0 to 255; the stored id of a colour
            is its place in this list. None for label maps of ids.
        part: The share of the images to take, between two fractions of a fixed random order.

    Returns:
        The registered name. It follows from the arguments, so that the same call gives the same name.

    Raises:
        ValueError: Class names that are missing or equal, or an id map to something that is no class.
    """
    classes = [str(name) for name in classes]
    if not classes or len(set(classes)) < len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        raise ValueError(f"dataset.classes has {f'{twice} twice' if twice else 'no names'}; wanted different names")
    wrong = unprintable(classes)
    if wrong:
        raise ValueError(f"dataset.classes has {', '.join(wrong[:5])}; wanted names without control characters")
    id_map = None if id_map is None else _checked_map(id_map, num_classes=len(classes), ignore_label=ignore_label)
    images, labels = (os.path.abspath(os.path.expanduser(str(folder))) for folder in (images, labels))
    colors = None if colors is None else checked_colors(colors, count=len(classes), id_map=id_map)
    settings = [images, labels, classes, ignore_label, id_map, list(part), *([] if colors is None else [colors])]
    name = f"own_{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}"
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, lambda: _records(images, labels, id_map=id_map, colors=colors, part=part))
        MetadataCatalog.get(name).set(
            stuff_classes=classes,
            stuff_colors=class_colors(len(classes), colors=colors, id_map=id_map),
            stored_ids=id_map,
            stored_colors=colors,
            ignore_label=ignore_label,
            image_root=images,
            sem_seg_root=labels,
            evaluator_type="sem_seg",
        )
    return name


def _checked_map(id_map: Mapping, *, num_classes: int, ignore_label: int) -> dict[int, int]:
    if not isinstance(id_map, Mapping):
        raise ValueError(f"dataset.id_map is {id_map}; wanted a mapping 'stored id: class id', or null for no map")
    checked = {}
    for stored, wanted in id_map.items():
        wanted = ignore_label if wanted == "ignore" else wanted
        numbers = type(stored) is int and type(wanted) is int and stored >= 0
        if not numbers or not (0 <= wanted < num_classes or wanted == ignore_label):
            raise ValueError(
                f"dataset.id_map has {stored}: {wanted}; wanted 'stored id: class id' with class ids 0 to "
                f"{num_classes - 1}, or the word ignore"
            )
        checked[stored] = wanted
    if not checked:
        raise ValueError("dataset.id_map names no id; wanted 'stored id: class id' for every id, or null for no map")
    return checked


def _records(
    images: str,
    labels: str,
    *,
    id_map: dict[int, int] | None,
    colors: list[list[int]] | None,
    part: tuple[float, float],
) -> list[dict]:
    pairs = pair_files(images, labels)
    records: list[dict[str, Any]] = []
    for key in fixed_share(pairs, part=part, place=images):
        image, label = pairs[key]
        records.append({"file_name": image, "sem_seg_file_name": label})
        if id_map is not None:
            records[-1]["sem_seg_id_map"] = id_map
        if colors is not None:
            records[-1]["sem_seg_colors"] = colors
    return records


def fixed_share(names: Collection[str], *, part: tuple[float, float], place: str) -> list[str]:
    """Choose a share of some names that depends on nothing but the names, and does not shift much when some are added.

    Args:
        names: The names, all different.
        part: Between which two shares of a fixed random order.
        place: The folder that the names are of, for the message.

    Returns:
        The chosen names, sorted.

    Raises:
        ValueError: There are too few names to choose one.
    """
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    first, last = (round(share * len(order)) for share in part)
    if first == last:
        raise ValueError(
            f"the {len(order)} images of {place} are too few to keep some for the test: the share from {part[0]} to "
            f"{part[1]} of them is none; wanted more images, another dataset.held_out, or a test set of its own"
        )
    return sorted(order[first:last])


def pair_files(images: str | PathLike, labels: str | PathLike) -> dict[str, tuple[str, str]]:
    """Pair the images and label maps of two folders by their paths without suffix.

    Args:
        images: Folder of images, with sub-folders; hidden files are passed over.
        labels: Folder of label maps.

    Returns:
        Path in the folder without suffix -> (image file, label file).

    Raises:
        ValueError: One folder for both, a folder that is missing or empty, two files of one name, or a file without its
            partner.
    """
    if os.path.isdir(images) and os.path.isdir(labels) and os.path.samefile(images, labels):
        raise ValueError(f"images and label maps are both in '{images}'; wanted a folder for each, with equal names")
    image_files = _files(images, IMAGE_SUFFIXES, kind="images")
    label_files = _files(labels, LABEL_SUFFIXES, kind="labels")
    if not image_files.keys() & label_files.keys():
        raise ValueError(
            f"no image in {images} has the name of a label map in {labels}; the first are "
            f"{next(iter(image_files))} and {next(iter(label_files))}; wanted equal names, such as a.jpg and a.png"
        )
    lone_images = [key for key in image_files if key not in label_files]
    lone_labels = [key for key in label_files if key not in image_files]
    if lone_images or lone_labels:
        complaints = []
        if lone_images:
            complaints.append(f"{len(lone_images)} images of {images} have no label map ({_first(lone_images)})")
        if lone_labels:
            complaints.append(f"{len(lone_labels)} label maps of {labels} have no image ({_first(lone_labels)})")
        raise ValueError(
            " and ".join(complaints) + "; wanted one label map an image, of its name: move away what has no partner"
        )
    return {key: (path, label_files[key]) for key, path in image_files.items()}


def _files(folder: str | PathLike[str], suffixes: tuple[str, ...], *, kind: str) -> dict[str, str]:
    """Files by their path in `folder` without suffix, in order."""
    if os.path.isfile(folder):
        raise ValueError(f"dataset.{kind} is '{folder}', which is a file; wanted the folder of {kind}")
    if not os.path.isdir(folder):
        raise ValueError(f"the folder of {kind}, '{folder}', does not exist (looked in {os.getcwd()})")
    found: dict[str, str] = {}
    others = 0
    for place, _, names in os.walk(os.fspath(folder), followlinks=True):
        for name in names:
            path = Path(place, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() not in suffixes:
                others += 1
                continue
            key = path.relative_to(folder).with_suffix("").as_posix()
            if key in found:
                raise ValueError(f"{found[key]} and {path} have the same name; wanted one of them among the {kind}")
            found[key] = str(path)
    if not found:
        raise ValueError(f"no {kind} in '{folder}', and {others} other files; wanted files in {', '.join(suffixes)}")
    return dict(sorted(found.items()))


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
