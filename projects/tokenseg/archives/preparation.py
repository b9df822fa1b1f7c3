"""Builds a data set's folder from its archives: counted, complete or not there at all."""

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
    """Folders whose files belong together.

    Args:
        name: The name of the split in messages and in `counts`.
        count: Files in each of the folders, those below included.
        folders: Folder, relative to the data set's -> end of the names that count. Without their ends, names and
            places of the files are the same in all of these folders.
    """

    name: str
    count: int | None
    folders: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """
    Args:
        folder: Name of the data set's folder under the root.
        archives: The archives that it is made from.
        splits: The layouts of the splits that it must hold in the end.
        write: Writes the files of one archive; called as write(archive, entries, folder) in the order of `archives`.
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
    """Build the data set unless it is there, and return its folder.

    All is written into a hidden folder beside it, checked, and moved into place. A run that was killed leaves that
    hidden folder, which the next run removes. Where the folder exists already and lacks something, the files are put
    into it: those of the same name are replaced, others stay.

    Args:
        preparation: The preparation of the data set.
        places: Its archives, folders that hold them, or folders in which they are unpacked.
        root: Folder of all data sets, `$DETECTRON2_DATASETS`.
        counts: Split -> files wanted instead of the published number; None accepts any number but 0.

    Raises:
        ValueError: An archive is missing, damaged or another one, a label map holds unknown ids, or counts differ.
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
        _require(unfinished, splits, place=f"the archives of {preparation.folder} hold")
        if folder.exists():
            _merge(unfinished, folder)
            _require(folder, splits, place=f"{folder} had other files already and now holds")
        else:
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("%s is complete: %s.", folder, _summary(folder, splits))
    return folder


def find_faults(folder: Path, splits: Sequence[SplitLayout]) -> list[str]:
    """What `folder` lacks of `splits`, in words; empty if nothing."""
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
                faults.append(f"{first} and {other}: {len(alone)} files lack a partner, such as {alone[0]} of {side}")
    return faults


def _names(folder: Path, end: str) -> set[str]:
    """Paths below `folder` of the files whose names end so, without that end."""
    return {
        (Path(where) / name).relative_to(folder).as_posix().removesuffix(end)
        for where, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.endswith(end)
    }


def _require(folder: Path, splits: Sequence[SplitLayout], *, place: str) -> None:
    faults = find_faults(folder, splits)
    if faults:
        raise ValueError("\n  ".join([f"{place} not what was published:", *faults]))


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
