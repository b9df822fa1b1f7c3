"""From class ids back to what label maps store: the ids or colours of own data, the ids that benchmark servers want."""

from collections.abc import Mapping, Sequence

import numpy as np
from detectron2.data.catalog import Metadata
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES

from ..visualize import spread_colors


def checked_colors(colors: Sequence[Sequence[int]], *, count: int, id_map: Mapping[int, int] | None) -> list[list[int]]:
    """Check the colours of label maps.

    Args:
        colors: (red, green, blue) of each.
        count: The number of classes.
        id_map: Stored id -> class id, where the stored id of a colour is its place; None takes places for class ids.

    Raises:
        ValueError: Something is no colour, a colour is there twice, or their number is another than that of the classes
            or of the ids in the map.
    """
    plain = [list(color) if isinstance(color, Sequence) and not isinstance(color, str) else color for color in colors]
    for color in plain:
        is_color = isinstance(color, list) and len(color) == 3 and all(type(v) is int and 0 <= v <= 255 for v in color)
        if not is_color or plain.count(color) > 1:
            told = "twice" if is_color else "which is no colour"
            raise ValueError(f"dataset.colors has {color} {told}; wanted different [red,green,blue] of 0 to 255")
    if id_map is None and len(plain) != count:
        raise ValueError(
            f"dataset.colors has {len(plain)} colours for {count} classes; wanted one a class, in their order, or a "
            "dataset.id_map from the place of each colour to a class id or the word ignore"
        )
    if id_map is not None and sorted(id_map) != list(range(len(plain))):
        raise ValueError(
            f"dataset.id_map names {sorted(id_map)}, and dataset.colors has {len(plain)} colours; wanted every place "
            f"of a colour, 0 to {len(plain) - 1}, to be mapped"
        )
    return plain


def class_colors(
    count: int, *, colors: Sequence[Sequence[int]] | None, id_map: Mapping[int, int] | None
) -> list[tuple[int, ...]]:
    """Choose a colour for each of `count` classes in pictures: that of the label maps, or a spread one."""
    chosen = [tuple(color) for color in spread_colors(count).tolist()]
    for class_id, stored in first_stored(id_map, count=count).items():
        if colors is not None:
            chosen[class_id] = tuple(colors[stored])
    return chosen


def first_stored(id_map: Mapping[int, int] | None, *, count: int) -> dict[int, int]:
    """Invert an id map: class id -> the first stored id that the map gives it, for those of `count` classes in it."""
    if id_map is None:
        return {class_id: class_id for class_id in range(count)}
    found: dict[int, int] = {}
    for stored, class_id in id_map.items():
        if class_id < count:
            found.setdefault(class_id, stored)
    return found


def to_stored(ids: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Turn class ids into what the label maps of a data set store.

    Where an id map gives several stored ids the same class, its first one is taken.

    Args:
        ids: (H, W) class ids.
        metadata: Detectron2's metadata of the data set.

    Returns:
        (H, W) uint8, uint16 or int64 ids, or (H, W, 3) uint8 colours where label maps have colours.

    Raises:
        ValueError: The id map gives no stored id a class that is predicted.
    """
    id_map, colors = metadata.get("stored_ids"), metadata.get("stored_colors")
    stored = _mapped(ids, first_stored(id_map, count=len(metadata.stuff_classes)), metadata.stuff_classes)
    return smallest(stored) if colors is None else np.array(colors, dtype=np.uint8)[stored]


def to_submission(ids: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Turn class ids into those of a benchmark's server: ADE20K counts classes from 1, Cityscapes has its label ids.

    Args:
        ids: (H, W) class ids.
        metadata: Detectron2's metadata of the test data.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: The format of the data set's server is not known here.
    """
    if metadata.name.startswith("ade20k_sem_seg"):
        table = {class_id: class_id + 1 for class_id in range(len(metadata.stuff_classes))}
    elif metadata.name.startswith("cityscapes_fine_sem_seg"):
        table = {category["trainId"]: category["id"] for category in CITYSCAPES_CATEGORIES}
    else:
        raise ValueError(
            f"the test data are {metadata.name}, whose submission format is not known; wanted those of ADE20K "
            "(ade20k_sem_seg_val) or Cityscapes (cityscapes_fine_sem_seg_val), or `stored` in place of `submission`"
        )
    return smallest(_mapped(ids, table, metadata.stuff_classes))


def smallest(ids: np.ndarray) -> np.ndarray:
    """The same ids in the smallest type that a PNG has for them."""
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16 if ids.max() < 65536 else np.int64)


def _mapped(ids: np.ndarray, table: Mapping[int, int], names: Sequence[str]) -> np.ndarray:
    lookup = np.full(len(names), -1, dtype=np.int64)
    lookup[list(table)] = list(table.values())
    mapped = lookup[ids]
    if mapped.min() < 0:
        name = names[int(ids[mapped < 0][0])]
        raise ValueError(f"the class {name} is predicted, but no stored id stands for it; wanted one in dataset.id_map")
    return mapped
