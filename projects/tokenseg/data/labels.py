"""Reading label maps: the one place that turns a label PNG into class ids, for training and for evaluation."""

from collections.abc import Mapping, Sequence

import numpy as np

from .errors import IdsOutOfRange, LabelHasColours, UnknownColours, UnreadableLabel, UnsupportedImage
from .images import count_pages, opened_image


def read_label(path: str) -> np.ndarray:
    """Read a label map as stored: grey values, or the indices of a palette image, never its colours.

    Returns:
        (H, W) int64 array of ids.

    Raises:
        UnreadableLabel: The file is no readable image.
        UnsupportedImage: The file has several pages, or floating-point values.
        LabelHasColours: The file has colour channels instead of one id a pixel.
    """
    with opened_image(path, kind="label", unreadable=UnreadableLabel) as image:
        mode, label = image.mode, np.asarray(image)
        pages = count_pages(image)
    if pages > 1 or mode == "F":
        raise UnsupportedImage(
            f"label file {path} has {f'{pages} pages' if pages > 1 else 'floating-point values'} (mode {mode}); wanted "
            "one page of whole numbers"
        )
    if label.ndim != 2:
        raise LabelHasColours(
            f"label file {path} has mode {mode}, wanted one id a pixel (a grey or palette image), or the colours of "
            "the classes: 'dataset.colors=[[0,0,0],[255,0,0]]'"
        )
    return label.astype(np.int64)


def read_colour_label(path: str, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Read a label map of colours, RGB or palette, each of which is exactly one of a list.

    Args:
        path: The path of the file.
        colors: The colours, (red, green, blue) of 0 to 255.

    Returns:
        (H, W) int64 array: the place of each pixel's colour in the list.

    Raises:
        UnreadableLabel: The file is no readable image.
        UnknownColours: Colours that the list lacks, or no colours at all.
    """
    with opened_image(path, kind="label", unreadable=UnreadableLabel) as image:
        mode = image.mode
        pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
        opaque = mode in ("RGB", "P") or (mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255))
        pages = count_pages(image)
    if not opaque or pages > 1:
        raise UnknownColours(
            f"label file {path} has mode {mode} and {pages} page(s); wanted one page of opaque colours, as "
            "dataset.colors is given (without it the values are ids)"
        )
    codes = _code(pixels)
    known = _code(np.array(colors, dtype=np.int64))
    order = known.argsort()
    places = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    unknown, counts = np.unique(codes[known[places] != codes], return_counts=True)
    if len(unknown):
        most = np.argsort(-counts, kind="stable")
        told = [
            f"[{c >> 16},{c >> 8 & 255},{c & 255}] in {n} pixels"
            for c, n in zip(unknown[most], counts[most], strict=True)
        ]
        raise UnknownColours(
            f"label file {path} holds {len(unknown)} colours that dataset.colors lacks: {_listed(told)}; wanted every "
            "colour there is, also those that are to be ignored (dataset.id_map says which)"
        )
    return places


def _code(colors: np.ndarray) -> np.ndarray:
    """Colours (..., 3) as a number each."""
    return (colors[..., 0] << 16) + (colors[..., 1] << 8) + colors[..., 2]


def read_stored_ids(record: Mapping) -> np.ndarray:
    """Read the label map of a data set's record as (H, W) int64 stored ids: those of the file, or the places of its
    colours in `sem_seg_colors`, if the record has that; see `read_label` and `read_colour_label` for errors."""
    path, colors = record["sem_seg_file_name"], record.get("sem_seg_colors")
    return read_label(path) if colors is None else read_colour_label(path, colors)


def map_ids(label: np.ndarray, id_map: Mapping[int, int], *, path: str) -> np.ndarray:
    """Replace the stored ids of a label map by class ids.

    Args:
        label: (H, W) int64.
        id_map: Stored id -> class id, none negative; it names every id there is.
        path: The path of the label file, for the message.

    Raises:
        IdsOutOfRange: A stored id that the map does not name.
    """
    table = np.full(max(id_map) + 2, -1, dtype=np.int64)  # the last place is for all ids that the map lacks
    table[list(id_map)] = list(id_map.values())
    mapped = table[np.where((label >= 0) & (label < len(table)), label, -1)]
    if (mapped < 0).any():
        raise IdsOutOfRange(
            f"label file {path} holds the ids {_listed(np.unique(label[mapped < 0]).tolist())}, which the id map does "
            f"not name; wanted {_listed(sorted(id_map))}"
        )
    return mapped


def read_class_ids(record: Mapping) -> np.ndarray:
    """Read the label map of a data set's record as (H, W) int64 class ids: by its `sem_seg_id_map`, if it has one.

    Raises:
        ValueError: The record names no label map; or see `read_label` and `map_ids`.
    """
    if "sem_seg_file_name" not in record:
        raise ValueError(
            f"the record of {record.get('file_name', 'an image')} names no label map; wanted sem_seg_file_name, which "
            "a data set for semantic segmentation has and tokenseg.data.mapper.SemSegMapper hands on"
        )
    path, id_map = record["sem_seg_file_name"], record.get("sem_seg_id_map")
    label = read_stored_ids(record)
    return label if id_map is None else map_ids(label, id_map, path=path)


def _listed(values: list) -> str:
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")


def check_label_range(label: np.ndarray, *, num_classes: int, ignore_label: int, path: str) -> None:
    """Raise IdsOutOfRange, naming the file, unless every id of `label` is below `num_classes` or the ignore label."""
    wrong = (label != ignore_label) & ((label < 0) | (label >= num_classes))
    if wrong.any():
        raise IdsOutOfRange(
            f"label file {path} holds the ids {_listed(np.unique(label[wrong]).tolist())}; "
            f"wanted 0 to {num_classes - 1}, or {ignore_label} for ignored pixels"
        )
