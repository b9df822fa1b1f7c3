"""Conversion of class ids to the ids or colours that label maps store, or to the ids that benchmark servers expect."""

from collections.abc import Mapping, Sequence

import numpy as np
from detectron2.data.catalog import Metadata
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES

from ..visualize import spread_colors


def checked_colors(colors: Sequence[Sequence[int]], *, count: int, id_map: Mapping[int, int] | None) -> list[list[int]]:
    """Check the colours that encode the ids of label maps, and return them as lists.

    Args:
        colors: The colours, each as (red, green, blue) from 0 to 255.
        count: The number of classes.
        id_map: The class id of every stored id, where the stored id of a colour is its index in `colors`. With None,
            the indices are the class ids.

    Raises:
        ValueError: An entry is not a colour, a colour is duplicated, or the number of colours differs from the number
            of classes or of ids in the map.
    """
    plain = [list(color) if isinstance(color, Sequence) and not isinstance(color, str) else color for color in colors]
    for color in plain:
        is_color = isinstance(color, list) and len(color) == 3 and all(type(v) is int and 0 <= v <= 255 for v in color)
        if not is_color or plain.count(color) > 1:
            told = "twice" if is_color else "which is not a colour"
            raise ValueError(f"dataset.colors has {color} {told}; wanted different [red,green,blue] from 0 to 255")
    if id_map is None and len(plain) != count:
        raise ValueError(
            f"dataset.colors has {len(plain)} colours for {count} classes; wanted one per class, in the order of the "
            "classes, or a dataset.id_map from the index of each colour to a class id or the word ignore"
        )
    if id_map is not None and sorted(id_map) != list(range(len(plain))):
        raise ValueError(
            f"dataset.id_map has the keys {sorted(id_map)}, and dataset.colors has {len(plain)} colours; wanted a key "
            f"for the index of every colour, 0 to {len(plain) - 1}"
        )
    return plain


def class_colors(
    count: int, *, colors: Sequence[Sequence[int]] | None, id_map: Mapping[int, int] | None
) -> list[tuple[int, ...]]:
    """Choose the colours in which pictures show the classes: those of the label maps, else distinct ones.

    Args:
        count: The number of classes.
        colors: The colours of the stored ids in the label maps, or None.
        id_map: The class id of every stored id; with None, stored ids are class ids.
    """
    chosen = [tuple(color) for color in spread_colors(count).tolist()]
    for class_id, stored in first_stored(id_map, count=count).items():
        if colors is not None:
            chosen[class_id] = tuple(colors[stored])
    return chosen


def first_stored(id_map: Mapping[int, int] | None, *, count: int) -> dict[int, int]:
    """Invert an id map: return the first stored id that it maps to each class id below `count`, by class id."""
    if id_map is None:
        return {class_id: class_id for class_id in range(count)}
    found: dict[int, int] = {}
    for stored, class_id in id_map.items():
        if class_id < count:
            found.setdefault(class_id, stored)
    return found


def to_stored(ids: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Convert class ids to the ids or colours that the label maps of a data set store.

    If the id map maps several stored ids to the same class, the first of them is used.

    Args:
        ids: The class ids (H, W).
        metadata: Detectron2's metadata of the data set.

    Returns:
        The stored ids (H, W) as uint8, uint16 or int64, or the colours (H, W, 3) as uint8 if label maps have colours.

    Raises:
        ValueError: A predicted class has no stored id in the id map.
    """
    id_map, colors = metadata.get("stored_ids"), metadata.get("stored_colors")
    stored = _mapped(ids, first_stored(id_map, count=len(metadata.stuff_classes)), metadata.stuff_classes)
    return smallest(stored) if colors is None else np.array(colors, dtype=np.uint8)[stored]


def to_submission(ids: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Convert class ids to those that a benchmark's server expects.

    ADE20K counts classes from 1, and Cityscapes expects its label ids instead of its training ids.

    Args:
        ids: The class ids (H, W).
        metadata: Detectron2's metadata of the test data.

    Returns:
        The converted ids (H, W) uint8.

    Raises:
        ValueError: The submission format of the data set is not known.
    """
    if metadata.name.startswith("ade20k_sem_seg"):
        table = {class_id: class_id + 1 for class_id in range(len(metadata.stuff_classes))}
    elif metadata.name.startswith("cityscapes_fine_sem_seg"):
        table = {category["trainId"]: category["id"] for category in CITYSCAPES_CATEGORIES}
    else:
        raise ValueError(
            f"the test data are {metadata.name}, whose submission format is not known; wanted those of ADE20K "
            "(ade20k_sem_seg_val) or Cityscapes (cityscapes_fine_sem_seg_val), or `stored` instead of `submission`"
        )
    return smallest(_mapped(ids, table, metadata.stuff_classes))


def smallest(ids: np.ndarray) -> np.ndarray:
    """Convert ids to the smallest type that holds them, of those that a PNG can store."""
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16 if ids.max() < 65536 else np.int64)


def _mapped(ids: np.ndarray, table: Mapping[int, int], names: Sequence[str]) -> np.ndarray:
    lookup = np.full(len(names), -1, dtype=np.int64)
    lookup[list(table)] = list(table.values())
    mapped = lookup[ids]
    if mapped.min() < 0:
        name = names[int(ids[mapped < 0][0])]
        raise ValueError(f"the class {name} is predicted, but no stored id stands for it; wanted one in dataset.id_map")
    return mapped
