"""Rules that say where each file of an archive goes, and conversions of label maps."""

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
    """
    Args:
        pattern: Regular expression of the whole name of the entries that the rule is for.
        target: Gives the path to write, relative to the data set's folder, or None to write nothing.
        convert: Content and name of the entry to the content to write; None writes what was read.
    """

    pattern: str
    target: Callable[[re.Match], str | None]
    convert: Callable[[bytes, str], bytes] | None = None


def apply_rules(entries: Sequence[Entry], rules: Sequence[FileRule], folder: Path, *, desc: str) -> None:
    """Write into `folder` what the rules say, with a progress bar; every rule that fits an entry applies.

    Raises:
        ValueError: A conversion refuses a file, or a name in the archive leads out of the folder.
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
    """A hard link costs no disk space; not every file system has them, and none has them across its borders."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def read_lists(entries: Sequence[Entry], lists: Mapping[str, str]) -> dict[str, str]:
    """File name without its end -> split, from lists with a name in the first word of each line.

    Args:
        entries: The entries of the archive.
        lists: Split -> name of the entry that lists it.

    Raises:
        ValueError: A list is not there, or a name stands in two of them.
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
    """(H, W) ids of a grey or palette image.

    Raises:
        ValueError: No readable image, or one with colours.
    """
    try:
        label = np.asarray(Image.open(io.BytesIO(data)))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"no readable image: {error}") from error
    if label.ndim != 2:
        raise ValueError("an image with colours; wanted one id a pixel")
    return label


def read_mat(variable: str) -> Callable[[bytes], np.ndarray]:
    """A reader of the (H, W) ids in one variable of a MATLAB file; it raises ValueError where there is none."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    def read(data: bytes) -> np.ndarray:
        try:
            content = loadmat(io.BytesIO(data), variable_names=[variable])
        except (MatReadError, ValueError, TypeError, NotImplementedError) as error:
            raise ValueError(f"no readable MATLAB file: {error}") from error
        if variable not in content or content[variable].ndim != 2:
            raise ValueError(f"a MATLAB file without a map called {variable}")
        return content[variable]

    return read


def relabel(id_map: Mapping[int, int], read: Callable[[bytes], np.ndarray]) -> Callable[[bytes, str], bytes]:
    """A conversion of stored label maps to PNG files.

    Args:
        id_map: Stored id -> id to write, 0..255; it names every id there is.
        read: Content of a file to (H, W) ids.

    Returns:
        For `FileRule.convert`; it raises ValueError, naming the file, if it cannot be read or holds an id that the
        map does not name.
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
