"""Loading the records of registered data sets: clear errors if files are missing, and memory that workers share."""

import difflib
import logging
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import overload

from detectron2.data import DatasetCatalog, DatasetFromList, MetadataCatalog

logger = logging.getLogger(__name__)

# The records of each data set by its name, so that they are read only once per process, together with the function that
# was registered for it. If another function is registered under the name later, the records are read again.
_known: dict[str, tuple[Callable[[], list[dict]], DatasetFromList]] = {}


class Records(Sequence[dict]):
    """Records serialised into one block of bytes, as Detectron2 does it, which forked worker processes share.

    Each worker would gradually copy a list of dicts, since reading an object changes its reference count and so writes
    to its memory page. Every access returns a new record, which the caller may change.
    """

    def __init__(self, parts: Sequence[DatasetFromList]) -> None:
        """
        Args:
            parts: The serialised lists, which are concatenated.
        """
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> dict: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict]: ...
    def __getitem__(self, place: int | slice) -> dict | list[dict]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"record {place} of {len(self)}")
        place %= len(self)
        part = bisect_right(self._ends, place)
        return self._parts[part][place - (self._ends[part - 1] if part else 0)]


def load_records(names: str | Sequence[str]) -> Records:
    """Load the records of one or several registered data sets and concatenate them.

    Raises:
        ValueError: A name is not registered, or the files of a data set are missing.
    """
    names = [names] if isinstance(names, str) else names
    if not names:
        raise ValueError("no data set is named; wanted one or more registered names")
    return Records([_load(name) for name in names])


def _load(name: str) -> DatasetFromList:
    if name not in DatasetCatalog.list():
        names = DatasetCatalog.list()
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"data set '{name}' is not registered; registered are {', '.join(names)}{hint}")
    function = DatasetCatalog[name]
    if name in _known and _known[name][0] is function:
        return _known[name][1]
    try:
        found = DatasetCatalog.get(name)
    except (AssertionError, KeyError, OSError) as error:  # raised by Detectron2 for empty folders, unknown categories
        raise ValueError(_not_there(name, error)) from error
    if not found:
        raise ValueError(_not_there(name, "it has no images"))
    _check_files(name, found)
    metadata = MetadataCatalog.get(name)
    classes = metadata.get("stuff_classes") or metadata.get("thing_classes") or []
    shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    logger.info("Data set %s: %d images, %d classes (%s)", name, len(found), len(classes), shown)
    _known[name] = function, DatasetFromList(found, copy=False)
    return _known[name][1]


def _check_files(name: str, records: Sequence[dict]) -> None:
    """Raise a ValueError if records name files that do not exist. Each folder is listed only once."""
    paths = [record[key] for record in records for key in ("file_name", "sem_seg_file_name") if key in record]
    places = {path: os.path.split(path) for path in paths}
    folders = {folder: _files_in(folder) for folder in {folder for folder, _ in places.values()}}
    missing = [path for path, (folder, file) in places.items() if file not in folders[folder]]
    if missing:
        raise ValueError(_not_there(name, f"{len(missing)} files are missing, such as {missing[0]}"))


def _files_in(folder: str) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder or ".")}
    except OSError:
        return set()


def _not_there(name: str, reason: object) -> str:
    folder = MetadataCatalog.get(name).get("image_root", "its folder")
    root = os.getenv("DETECTRON2_DATASETS", "datasets")
    place = f"data sets are in $DETECTRON2_DATASETS, now {root}; tools/prepare_datasets creates them from archives"
    return f"data set '{name}' cannot be read from {folder}: {reason} ({place})"
