"""Rules that map each file of an archive to its place in the data set's folder, and conversions of label maps."""

import io
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data.labels import map_ids
from .reading import Entry


@dataclass(frozen=True, kw_only=True)
class FileRule:
    """A rule for some files of an archive.

    Attributes:
        pattern: A regular expression that matches the whole name of an entry to which the rule applies.
        target: A function from the match to the path to write, relative to the data set's folder, or to None, which
            writes nothing.
        convert: A function from the content and the name of the entry to the content to write; None copies the content.
    """

    pattern: str
    target: Callable[[re.Match], str | None]
    convert: Callable[[bytes, str], bytes] | None = None


def apply_rules(entries: Sequence[Entry], rules: Sequence[FileRule], folder: Path, *, desc: str) -> None:
    """Write the files of an archive by the rules, with a progress bar.

    Args:
        entries: The entries of the archive.
        rules: The rules; every rule that matches an entry is applied to it.
        folder: The folder of the data set, to which the files are written.
        desc: The text beside the progress bar.

    Raises:
        ValueError: A conversion refuses a file, or the path to write is outside of the folder.
    """
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    for entry in tqdm(entries, desc=desc, unit="file", disable=None):
        for pattern, rule in compiled:
            match = pattern.fullmatch(entry.name)
            target = rule.target(match) if match else None
            if target is not None:
                if Path(target).is_absolute() or ".." in Path(target).parts:
                    raise ValueError(
                        f"the archive's {entry.name} would be written outside of {folder}; wanted it inside"
                    )
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(entry, rule.convert, path)


def _write(entry: Entry, convert: Callable[[bytes, str], bytes] | None, path: Path) -> None:
    if convert is not None:
        path.write_bytes(convert(entry.read(), entry.name))
    elif entry.path is None:
        path.write_bytes(entry.read())
    else:
        _link_or_copy(entry.path.resolve(), path)


def _link_or_copy(source: Path, path: Path) -> None:
    """Make a hard link, which takes no disk space, or copy the file where that is impossible.

    Some file systems have no hard links, and no link can lead to another file system.
    """
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def read_lists(entries: Sequence[Entry], lists: Mapping[str, str]) -> dict[str, str]:
    """Read the lists of a data set's splits, in which the first word of each line is a file name without its ending.

    Args:
        entries: The entries of the archive.
        lists: Split -> the name of the entry that lists its files.

    Returns:
        File name without its ending -> split.

    Raises:
        ValueError: A list does not exist, or a file name is in two lists.
    """
    by_name = {entry.name: entry for entry in entries}
    splits: dict[str, str] = {}
    for split, name in lists.items():
        if name not in by_name:
            raise ValueError(f"the archive has no {name}, the list of the split {split}")
        words = [line.split()[0] for line in by_name[name].read().decode().splitlines() if line.strip()]
        twice = [word for word in words if word in splits]
        if twice:
            raise ValueError(f"{name} lists {twice[0]}, which is in the split {splits[twice[0]]} too")
        splits |= dict.fromkeys(words, split)
    return splits


def read_png(data: bytes) -> np.ndarray:
    """Read the ids (H, W) of a greyscale or palette image.

    Raises:
        ValueError: The image cannot be read, or has several channels.
    """
    try:
        label = np.asarray(Image.open(io.BytesIO(data)))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a readable image: {error}") from error
    if label.ndim != 2:
        raise ValueError("an image with several channels; wanted one id per pixel")
    return label


def read_mat(variable: str) -> Callable[[bytes], np.ndarray]:
    """Create a reader of the ids (H, W) in a variable of MATLAB files. It raises a ValueError if there are none."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    def read(data: bytes) -> np.ndarray:
        try:
            content = loadmat(io.BytesIO(data), variable_names=[variable])
        except (MatReadError, ValueError, TypeError, NotImplementedError) as error:
            raise ValueError(f"not a readable MATLAB file: {error}") from error
        if variable not in content or content[variable].ndim != 2:
            raise ValueError(f"a MATLAB file without a map called {variable}")
        return content[variable]

    return read


def relabel(id_map: Mapping[int, int], read: Callable[[bytes], np.ndarray]) -> Callable[[bytes, str], bytes]:
    """Create a conversion of stored label maps to PNG files.

    Args:
        id_map: Stored id -> the id to write, 0 to 255. It must have every id that occurs.
        read: A function from the content of a file to its ids (H, W).

    Returns:
        A function for `FileRule.convert`. It raises a ValueError, which names the file, if the file cannot be read or
        has an id that is not in the map.
    """

    def convert(data: bytes, name: str) -> bytes:
        try:
            stored = read(data)
        except ValueError as error:
            raise ValueError(f"label file {name} is {error}") from error
        label = map_ids(stored.astype(np.int64), id_map, path=name)
        done, png = cv2.imencode(".png", label.astype(np.uint8))
        if not done:
            raise ValueError(f"label file {name} could not be written as a PNG file")
        return png.tobytes()

    return convert
