"""Checks of the paths in a command line, before any work is done."""

from pathlib import Path


def check_folder(flag: str, path: Path) -> None:
    """Raise a ValueError if the path or one of its parents is a file; a folder that does not exist is accepted."""
    blocking = next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None)
    if blocking:
        raise ValueError(f"{flag} is {path}, but {blocking} is a file; wanted a folder")


def check_file(flag: str, path: Path) -> None:
    """Raise a ValueError if the path is a folder, or if one of its parents is a file."""
    if path.is_dir():
        raise ValueError(f"{flag} is {path}, which is a folder; wanted a file")
    check_folder(f"the folder of {flag}", path.parent)
