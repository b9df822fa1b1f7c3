"""Paths on a command line that are not what they should be, refused before any work."""

from pathlib import Path


def check_folder(flag: str, path: Path) -> None:
    """Refuse a file where a folder is wanted; one that does not exist yet will be made."""
    blocking = next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None)
    if blocking:
        raise ValueError(f"{flag} is {path}, but {blocking} is a file; wanted a folder")


def check_file(flag: str, path: Path) -> None:
    """Refuse a folder where a file is wanted, and a file in what is no folder."""
    if path.is_dir():
        raise ValueError(f"{flag} is {path}, which is a folder; wanted a file")
    check_folder(f"the folder of {flag}", path.parent)
