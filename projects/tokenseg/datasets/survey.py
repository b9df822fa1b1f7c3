"""A survey of the files of a data set: their sizes, modes and stored ids, and the files that would stop training."""

import contextlib
import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..data.errors import (
    IdsOutOfRange,
    LabelHasColours,
    SizesDiffer,
    UnknownColours,
    UnreadableImage,
    UnreadableLabel,
    UnsupportedImage,
)
from ..data.image_reader import ImageReader
from ..data.images import opened_image
from ..data.labels import read_stored_ids
from ..data.mapper import SemSegMapper

# The kind of fault for each exception of the mapper. Empty files, and images that only their EXIF tag rotates, are
# separate kinds.
_KINDS = {
    UnreadableImage: "image",
    UnsupportedImage: "unsupported",
    UnreadableLabel: "label",
    LabelHasColours: "colours",
    UnknownColours: "unknown colours",
    SizesDiffer: "size",
    IdsOutOfRange: "ids",
}
STOPS = ("empty", "turned", *_KINDS.values(), "other")


@dataclass
class Seen:
    """The facts about one image and its label map, as far as the files could be read.

    Attributes:
        name: The file name of the image.
        digest: The SHA-256 checksum of the image file.
        mode: Pillow's mode of the image, or its bands and their type.
        size: The stored (height, width) of the image in pixels.
        orientation: The EXIF orientation of the image.
        label_mode: Pillow's mode of the label map.
        ids: The number of pixels of each stored id.
        levels: The mean and the mean square of the grey levels of each band, (2, C); None for 8-bit colours.
        stop: The kind of fault for which the mapper raises an error, one of `STOPS`, or an empty string.
        message: The message of this error.
    """

    name: str
    digest: str = ""
    mode: str = ""
    size: tuple[int, int] | None = None
    orientation: int = 1
    label_mode: str = ""
    ids: Counter = field(default_factory=Counter)
    levels: np.ndarray | None = None
    stop: str = ""
    message: str = ""


@dataclass
class SurveyedSplit:
    """A split of a data set with the facts about its files.

    Attributes:
        name: The name of the split, `train` or `test`.
        root: The folder of its images.
        classes: The names of the classes.
        ignore_label: The class id of the pixels to ignore.
        id_map: The class id of every stored id, or None if stored ids are class ids.
        seen: The facts about each image that was checked.
        limited: Whether only some of the images were checked.
    """

    name: str
    root: str
    classes: Sequence[str]
    ignore_label: int
    id_map: dict[int, int] | None
    seen: list[Seen]
    limited: bool

    def class_of(self, stored: int) -> int | None:
        """Return the class id or the ignore label of a stored id, or None if it is neither."""
        wanted = stored if self.id_map is None else self.id_map.get(stored)
        return wanted if wanted == self.ignore_label or wanted in range(len(self.classes)) else None

    def ids(self) -> Counter:
        """Return the number of pixels of each stored id in all label maps."""
        return sum((seen.ids for seen in self.seen), Counter())

    def present(self) -> set[int]:
        """Return the class ids that occur."""
        found = map(self.class_of, self.ids())
        return {wanted for wanted in found if wanted is not None and wanted != self.ignore_label}


def describe_sizes(seen: Sequence[Seen]) -> list[str]:
    """Describe the sizes of the images in one line, or in none if no image can be read."""
    sizes = [one.size for one in seen if one.size]
    parts = [
        f"{name} {min(sides)} / {statistics.median_low(sides)} / {max(sides)}"
        for name, sides in zip(("height", "width"), zip(*sizes, strict=True), strict=False)
    ]
    return [f"  smallest / median / largest: {', '.join(parts)} pixels"] if parts else []


def describe_levels(seen: Sequence[Seen]) -> list[str]:
    """Describe the mean and the standard deviation of each band as overrides; nothing for 8-bit colours."""
    found = [one.levels for one in seen if one.levels is not None]
    if not found:
        return []
    mean, square = np.mean(found, axis=0)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    words = (
        f"model.pixel_{name}=[{','.join(f'{v:.4g}' for v in each)}]" for name, each in (("mean", mean), ("std", spread))
    )
    return [f"  grey levels of the bands: {' '.join(words)}"]


def has_no_bytes(path: str) -> bool:
    """Return whether a file exists and is empty."""
    return os.path.exists(path) and not os.path.getsize(path)


def look_at_image(path: str, reader: ImageReader | None = None) -> Seen:
    """Collect the facts about an image file as far as it can be read; faults are found later by reading its pixels.

    Args:
        path: The path of the file.
        reader: The reader of the data set's images, by default one for 8-bit colours.
    """
    seen = Seen(name=os.path.basename(path))
    with contextlib.suppress(ValueError, OSError):
        with open(path, "rb") as file:
            seen.digest = hashlib.file_digest(file, "sha256").hexdigest()
        seen.mode, seen.size, seen.orientation = (reader or ImageReader()).header(path)
    return seen


def look(record: dict, mapper: SemSegMapper) -> Seen:
    """Read an image and its label map as training does, and collect the facts about both."""
    image, label = record["file_name"], record["sem_seg_file_name"]
    seen = look_at_image(image, mapper.reader)
    try:
        with opened_image(label) as header:
            seen.label_mode = header.mode
        ids, pixels = np.unique(read_stored_ids(record), return_counts=True)
        seen.ids = Counter(dict(zip(ids.tolist(), pixels.tolist(), strict=True)))
    except ValueError:  # the mapper raises it again below
        pass
    try:
        image = mapper(record)["image"]
        if not mapper.reader.is_plain:
            channels = image.flatten(1).double()
            seen.levels = np.stack([channels.mean(dim=1), channels.square().mean(dim=1)])
    except ValueError as error:
        seen.message = str(error)
        seen.stop = _kind(error, seen, files=(image, label))
    return seen


def _kind(error: ValueError, seen: Seen, *, files: Sequence[str]) -> str:
    if any(map(has_no_bytes, files)):
        return "empty"
    # Orientations above 4 swap height and width, so the label map has the size of the image as it is stored.
    if isinstance(error, SizesDiffer) and seen.orientation > 4 and error.label_size == seen.size:
        return "turned"
    return _KINDS.get(type(error), "other")
