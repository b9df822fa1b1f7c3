"""Reading label maps: training and evaluation both convert label files to class ids with these functions."""

from collections.abc import Mapping, Sequence

import numpy as np

from .errors import IdsOutOfRange, LabelHasColours, UnknownColours, UnreadableLabel, UnsupportedImage
from .images import count_pages, opened_image


def read_label(path: str) -> np.ndarray:
    """Read the stored ids of a label map: its grey values, or, if it is a palette image, the palette indices.

    Returns:
        The ids, an (H, W) int64 array.

    Raises:
        UnreadableLabel: The file cannot be read as an image.
        UnsupportedImage: The file has several pages, or floating-point values.
        LabelHasColours: The file has colour channels instead of one id per pixel.
    """
    with opened_image(path, kind="label", unreadable=UnreadableLabel) as image:
        mode, label = image.mode, np.asarray(image)
        pages = count_pages(image)
    if pages > 1 or mode == "F":
        raise UnsupportedImage(
            f"label file {path} has {f'{pages} pages' if pages > 1 else 'floating-point values'} (mode {mode}); wanted "
            "one page of integers"
        )
    if label.ndim != 2:
        raise LabelHasColours(
            f"label file {path} has mode {mode}; wanted one id per pixel (a grey or palette image), or the colours of "
            "the classes: 'dataset.colors=[[0,0,0],[255,0,0]]'"
        )
    return label.astype(np.int64)


def read_colour_label(path: str, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Read a label map that encodes ids as colours, in an RGB or a palette image.

    Args:
        path: The path of the file.
        colors: The colours of the ids, each as (red, green, blue) from 0 to 255.

    Returns:
        The ids, an (H, W) int64 array: the index of each pixel's colour in the list.

    Raises:
        UnreadableLabel: The file cannot be read as an image.
        UnknownColours: The file has colours that are not in the list, or is not an opaque colour image of one page.
    """
    with opened_image(path, kind="label", unreadable=UnreadableLabel) as image:
        mode = image.mode
        pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
        opaque = mode in ("RGB", "P") or (mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255))
        pages = count_pages(image)
    if not opaque or pages > 1:
        raise UnknownColours(
            f"label file {path} has mode {mode} and {pages} page(s); wanted one page of opaque colours, since "
            "dataset.colors is set (without it, the values are read as ids)"
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
            f"label file {path} holds {len(unknown)} colours that dataset.colors lacks: {_listed(told)}; wanted all "
            "colours of the label maps, including those to ignore (dataset.id_map determines which are ignored)"
        )
    return places


def _code(colors: np.ndarray) -> np.ndarray:
    """Encode each colour of (..., 3) as one number."""
    return (colors[..., 0] << 16) + (colors[..., 1] << 8) + colors[..., 2]


def read_stored_ids(record: Mapping) -> np.ndarray:
    """Read the label map of a record as stored ids (H, W) int64.

    If the record has `sem_seg_colors`, they are the indices of the file's colours in this list. Errors are those of
    `read_label` and `read_colour_label`.
    """
    path, colors = record["sem_seg_file_name"], record.get("sem_seg_colors")
    return read_label(path) if colors is None else read_colour_label(path, colors)


def map_ids(label: np.ndarray, id_map: Mapping[int, int], *, path: str) -> np.ndarray:
    """Replace the stored ids of a label map by class ids.

    Args:
        label: The stored ids (H, W) int64.
        id_map: The class id of every stored id; both are non-negative.
        path: The path of the label file, for the message.

    Raises:
        IdsOutOfRange: The label map contains a stored id that is not in `id_map`.
    """
    table = np.full(max(id_map) + 2, -1, dtype=np.int64)  # the last entry is for ids outside the table
    table[list(id_map)] = list(id_map.values())
    mapped = table[np.where((label >= 0) & (label < len(table)), label, -1)]
    if (mapped < 0).any():
        raise IdsOutOfRange(
            f"label file {path} holds the ids {_listed(np.unique(label[mapped < 0]).tolist())}, which the id map does "
            f"not list; wanted {_listed(sorted(id_map))}"
        )
    return mapped


def read_class_ids(record: Mapping) -> np.ndarray:
    """Read the label map of a record as class ids (H, W) int64, converted by the record's `sem_seg_id_map` if present.

    Raises:
        ValueError: The record names no label map, or an error of `read_label`, `read_colour_label` or `map_ids`.
    """
    if "sem_seg_file_name" not in record:
        raise ValueError(
            f"the record of {record.get('file_name', 'an image')} names no label map; wanted sem_seg_file_name, which "
            "records of semantic segmentation data sets contain and tokenseg.data.mapper.SemSegMapper keeps"
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
