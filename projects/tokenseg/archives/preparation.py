"""Builds a data set's folder from its archives: all files are counted, and the folder is complete or does not exist."""

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .reading import Archive, Entry, find_archives, open_archive

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitLayout:
    """The folders of a split, whose files correspond to one another, such as images and label maps.

    Attributes:
        name: The name of the split in messages and in `counts`.
        count: The number of files in each of the folders and their subfolders; None accepts any number but 0.
        folders: Folder, relative to that of the data set -> the ending of the names of its files. Without these
            endings, the relative paths of the files are the same in all of the folders.
    """

    name: str
    count: int | None
    folders: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The description of how a data set is built.

    Attributes:
        folder: The name of the data set's folder under the root.
        archives: The archives that it is built from.
        splits: The layouts of the splits that it must have in the end.
        write: A function that writes the files of one archive. It is called as write(archive, entries, folder) for each
            archive in turn.
    """

    folder: str
    archives: Sequence[Archive]
    splits: Sequence[SplitLayout]
    write: Callable[[Archive, list[Entry], Path], None]


def prepare(
    preparation: Preparation,
    *,
    places: Sequence[str | Path],
    root: str | Path,
    counts: Mapping[str, int | None] | None = None,
) -> Path:
    """Build the data set unless it is complete already, and return its folder.

    All files are written to a hidden folder beside it, checked, and moved into place. A run that is killed leaves this
    hidden folder, which the next run removes. If the folder of the data set exists but is incomplete, the files are
    moved into it: they replace files of the same name, and other files stay.

    Args:
        preparation: The description of the data set.
        places: The archives, folders that contain them, or folders in which they have been unpacked.
        root: The folder of all data sets, `$DETECTRON2_DATASETS`.
        counts: Split -> the number of files to expect instead of the published one; None accepts any number but 0.

    Raises:
        ValueError: An archive is missing, damaged or a different one, a label map has unknown ids, or counts differ.
    """
    splits = [
        dataclasses.replace(split, count=(counts or {}).get(split.name, split.count)) for split in preparation.splits
    ]
    folder = (Path(root) / preparation.folder).resolve()
    if folder.exists() and not find_faults(folder, splits):
        logger.info("%s is complete: %s. Nothing to do.", folder, _summary(folder, splits))
        return folder
    paths = find_archives(preparation.archives, [Path(place) for place in places])
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for archive, path in zip(preparation.archives, paths, strict=True):
            logger.info("Reading %s", path)
            with open_archive(archive, path) as entries:
                preparation.write(archive, entries, unfinished)
        _require(unfinished, splits, subject=f"the archives of {preparation.folder} do not match")
        if folder.exists():
            _merge(unfinished, folder)
            _require(folder, splits, subject=f"{folder} already had other files, and now does not match")
        else:
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("%s is complete: %s.", folder, _summary(folder, splits))
    return folder


def find_faults(folder: Path, splits: Sequence[SplitLayout]) -> list[str]:
    """Describe the differences between a folder and the layouts of its splits; empty if there are none."""
    faults = []
    for split in splits:
        names = {place: _names(folder / place, end) for place, end in split.folders.items()}
        for place, found in names.items():
            if split.count is None and not found:
                faults.append(f"{place}: no files (*{split.folders[place]})")
            elif split.count is not None and len(found) != split.count:
                faults.append(f"{place}: {len(found)} files (*{split.folders[place]}), wanted {split.count}")
        first, *others = names
        for other in others:
            alone = sorted(names[first] ^ names[other])
            if alone:
                side = first if alone[0] in names[first] else other
                faults.append(
                    f"{first} and {other}: {len(alone)} files have no counterpart, such as {alone[0]} in {side}"
                )
    return faults


def _names(folder: Path, end: str) -> set[str]:
    """Find the files below a folder whose names have an ending; their relative paths are returned without it."""
    return {
        (Path(where) / name).relative_to(folder).as_posix().removesuffix(end)
        for where, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.endswith(end)
    }


def _require(folder: Path, splits: Sequence[SplitLayout], *, subject: str) -> None:
    faults = find_faults(folder, splits)
    if faults:
        raise ValueError("\n  ".join([f"{subject} what was published:", *faults]))


def _summary(folder: Path, splits: Sequence[SplitLayout]) -> str:
    return ", ".join(
        f"{len(_names(folder / place, end))} in {place}" for split in splits for place, end in split.folders.items()
    )


def _merge(source: Path, target: Path) -> None:
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and place.is_dir():
            _merge(item, place)
        else:
            shutil.move(item, place)
