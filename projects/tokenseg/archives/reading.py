"""Reads archives as their authors publish them, file by file; unpacked copies are read in the same way."""

import contextlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The description of a published archive.

    Attributes:
        name: The published name of the file.
        page: The address of the page that offers it.
        parts: The folders inside the archive that are needed. An unpacked copy is recognised by them.
        top: The folder inside the archive that contains these folders; "" if they are at the top.
    """

    name: str
    page: str
    parts: Sequence[str]
    top: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file in an archive.

    Attributes:
        name: The path inside the archive, with slashes, relative to the folder that contains `Archive.parts`.
        read: A function that returns the content.
        path: The path of the file in an unpacked copy; None inside an archive file.
    """

    name: str
    read: Callable[[], bytes]
    path: Path | None = None


def find_archives(archives: Sequence[Archive], places: Sequence[Path]) -> list[Path]:
    """Find the file of each archive, or the folder with its unpacked content.

    Args:
        archives: The archives to find.
        places: Archive files, folders of archive files, and folders of unpacked archives.

    Raises:
        ValueError: A place does not exist, or an archive is in none of the places. The message names the missing
            archives, their pages, and the files in these places.
    """
    for place in places:
        if not place.exists():
            raise ValueError(f"{place} does not exist; wanted an archive or a folder")
    found = [_find(archive, places) for archive in archives]
    missing = [archive for archive, path in zip(archives, found, strict=True) if path is None]
    if missing:
        wanted = "\n".join(
            f"  {archive.name} from {archive.page}, or unpacked: a folder with {_inside(archive)}"
            for archive in missing
        )
        there = "\n".join(f"  {place}: {_listing(place)}" for place in places)
        raise ValueError(f"not found:\n{wanted}\nlooked in:\n{there}")
    return [path for path in found if path is not None]


def _inside(archive: Archive) -> str:
    return " and ".join("/".join(filter(None, [archive.top, part])) for part in archive.parts)


def _listing(place: Path) -> str:
    if place.is_file():
        return "a file"
    names = sorted(item.name for item in place.iterdir())
    return (", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "an empty folder"


def _find(archive: Archive, places: Sequence[Path]) -> Path | None:
    for place in places:
        if place.is_file() and place.name == archive.name:
            return place
        if (place / archive.name).is_file():
            return place / archive.name
    for place in places:
        for folder in _unpacked(archive, place.absolute()):
            if all((folder / part).is_dir() for part in archive.parts):
                return folder
    return None


def _unpacked(archive: Archive, place: Path) -> Iterator[Path]:
    """Yield the folders that may contain the archive's parts if it was unpacked in `place`, or if `place` is a part."""
    parts = tuple(filter(None, archive.top.split("/")))
    for start in (place, place / archive.name.split(".")[0]):
        for used in range(len(parts) + 1):
            yield start.joinpath(*parts[used:])
    if [place.name] == list(archive.parts):
        yield place.parent


@contextlib.contextmanager
def open_archive(archive: Archive, path: Path) -> Iterator[list[Entry]]:
    """Inside the block the files of an archive can be read, in its order; those of an unpacked copy in sorted order.

    Args:
        archive: The description of the archive.
        path: The path of the archive, or of the folder with its content.

    Raises:
        ValueError: The file is damaged, not an archive, or a different one. Reading an entry may raise this too.
    """
    try:
        if path.is_dir():
            yield list(_folder_entries(archive, path))
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as file:
                yield _relative(archive, path, _zip_entries(file))
        else:
            with tarfile.open(path) as file:
                yield _relative(archive, path, _tar_entries(file))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); it may be incomplete. Download it again from {archive.page}"
        ) from error


def _folder_entries(archive: Archive, folder: Path) -> Iterator[Entry]:
    """Yield the files beside the parts and below them. Other subfolders, which a user may have added, are skipped."""
    beside = [item for item in folder.iterdir() if item.is_file()]
    below = (
        Path(where) / name
        for part in archive.parts
        for where, _, names in os.walk(folder / part, followlinks=True)
        for name in names
    )
    for path in sorted([*beside, *below]):
        yield Entry(name=path.relative_to(folder).as_posix(), read=path.read_bytes, path=path)


def _zip_entries(file: zipfile.ZipFile) -> Iterator[Entry]:
    for info in file.infolist():
        if not info.is_dir():
            yield Entry(name=info.filename, read=partial(file.read, info))


def _tar_entries(file: tarfile.TarFile) -> Iterator[Entry]:
    for member in file.getmembers():
        if member.isfile():
            yield Entry(name=member.name.removeprefix("./"), read=partial(_extracted, file, member))


def _extracted(file: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = file.extractfile(member)
    assert opened is not None  # the member is a regular file
    return opened.read()


def _relative(archive: Archive, path: Path, found: Iterator[Entry]) -> list[Entry]:
    """Make the names of entries relative to the folder that contains the parts, and leave out files outside it."""
    entries = list(found)
    mark = f"/{archive.parts[0]}/"
    top = next((name[: name.index(mark)] for name in (f"/{entry.name}" for entry in entries) if mark in name), None)
    if top is None:
        names = ", ".join(entry.name for entry in entries[:3]) or "nothing"
        raise ValueError(f"{path} has {names}, but no {_inside(archive)}; wanted {archive.name} from {archive.page}")
    return [
        Entry(name=f"/{entry.name}".removeprefix(f"{top}/"), read=entry.read)
        for entry in entries
        if f"/{entry.name}".startswith(f"{top}/")
    ]
