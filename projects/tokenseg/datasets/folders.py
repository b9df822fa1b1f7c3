"""The user's own data: a folder of images and a folder of label maps, which a config registers with Detectron2."""

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
# JPEG is missing on purpose, since its lossy compression changes ids.
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
    """Register the training or the test part of the user's own data, and return its registered name.

    Configs call this function for `dataset.train` and `dataset.test`.

    Args:
        split: The part to register, `train` or `test`.
        images: The folder of the training images.
        labels: The folder of the label maps of the training images.
        test_images: The folder of the test images; with None, a part of the training images is held out for testing.
        test_labels: The folder of the label maps of the test images.
        held_out: The share of the images that is held out for testing if there are no test folders.
        settings: The arguments `classes`, `ignore_label`, `id_map` and `colors` of `register_folders`.

    Raises:
        ValueError: Only one of the test folders is given, the share is not between 0 and 1, or `register_folders`
            raises an error.
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
    """Register a pair of folders with Detectron2; the folders are read only when the records are requested.

    Args:
        images: The folder of the images, which may have sub-folders.
        labels: The folder of the label maps, which have the same relative paths as their images except for the suffix.
        classes: The class names; class i is `classes[i]`.
        ignore_label: The class id of the pixels to ignore.
        id_map: The class id, or the word `ignore`, for every stored id; with None, stored ids are class ids.
        colors: The colours of the label maps, each as (red, green, blue) from 0 to 255; the stored id of a colour is
            its index in this list. None if the label maps store ids.
        part: The start and the end, as shares from 0 to 1, of the part of the images to use. The images are in a fixed
            random order.

    Returns:
        The registered name, which depends only on the arguments.

    Raises:
        ValueError: Class names are missing or duplicated, or the id map or the colours are invalid.
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
    # Colours are hashed only if there are any. So support for colours did not change the names of data sets without
    # them.
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
        raise ValueError("dataset.id_map is empty; wanted 'stored id: class id' for every id, or null for no map")
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
    """Choose a pseudo-random part of some names. It depends only on the names, and changes little if names are added.

    Args:
        names: The names, without duplicates.
        part: The start and the end of the part as shares of the names, which are in a fixed random order.
        place: The folder that contains the names, for the message.

    Returns:
        The chosen names, sorted.

    Raises:
        ValueError: There are so few names that the part is empty.
    """
    # A hash as sorting key is independent of Python's random generators, and of the other names.
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    first, last = (round(share * len(order)) for share in part)
    if first == last:
        raise ValueError(
            f"the {len(order)} images of {place} are too few to hold some out for testing: the part from {part[0]} to "
            f"{part[1]} of them is empty; wanted more images, another dataset.held_out, or a separate test set"
        )
    return sorted(order[first:last])


def pair_files(images: str | PathLike, labels: str | PathLike) -> dict[str, tuple[str, str]]:
    """Pair the images and label maps of two folders by their relative paths without suffix.

    Args:
        images: The folder of the images, which may have sub-folders; hidden files are skipped.
        labels: The folder of the label maps.

    Returns:
        The pairs (image file, label file) by their relative path without suffix.

    Raises:
        ValueError: Both folders are the same, a folder is missing or empty, two files have the same name, or a file has
            no partner.
    """
    if os.path.isdir(images) and os.path.isdir(labels) and os.path.samefile(images, labels):
        raise ValueError(
            f"images and label maps are both in '{images}'; wanted a folder for each, with equal file names"
        )
    image_files = _files(images, IMAGE_SUFFIXES, kind="images")
    label_files = _files(labels, LABEL_SUFFIXES, kind="labels")
    if not image_files.keys() & label_files.keys():
        raise ValueError(
            f"no image in {images} has the same name as a label map in {labels}; the first ones are "
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
            " and ".join(complaints) + "; wanted one label map of the same name for each image; move other files away"
        )
    return {key: (path, label_files[key]) for key, path in image_files.items()}


def _files(folder: str | PathLike[str], suffixes: tuple[str, ...], *, kind: str) -> dict[str, str]:
    """List the files of a folder by their relative path without suffix, sorted by this path."""
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
                raise ValueError(f"{found[key]} and {path} have the same name; wanted only one of them as {kind}")
            found[key] = str(path)
    if not found:
        raise ValueError(
            f"there are no {kind} in '{folder}', but {others} other files; wanted files in {', '.join(suffixes)}"
        )
    return dict(sorted(found.items()))


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
