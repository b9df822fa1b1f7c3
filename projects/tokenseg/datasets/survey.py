"""What the files of a data set show: sizes, modes, stored ids, and what a training would refuse."""

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

# Kinds of what the mapper refuses. A file of no bytes, and an image that its EXIF tag turns, have kinds of their own.
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
    """What one image and its label map, if it has one, show."""

    name: str
    digest: str = ""
    mode: str = ""
    size: tuple[int, int] | None = None
    orientation: int = 1
    label_mode: str = ""
    ids: Counter = field(default_factory=Counter)  # stored id -> pixels
    levels: np.ndarray | None = None  # (2, C): mean and mean square of the grey levels, of images of other than 8 bits
    stop: str = ""  # what the mapper refuses: one of STOPS, or nothing
    message: str = ""


@dataclass
class SurveyedSplit:
    """A part of the data set, and all that was seen of it.

    Attributes:
        name: `train` or `test`.
        root: Folder of its images.
        classes: Their names.
        ignore_label: Class id of pixels that count nowhere.
        id_map: Stored id -> class id, or None where stored ids are class ids.
        seen: What was found in its images, or in some of them.
        limited: Whether some of the images only were looked at.
    """

    name: str
    root: str
    classes: Sequence[str]
    ignore_label: int
    id_map: dict[int, int] | None
    seen: list[Seen]
    limited: bool

    def class_of(self, stored: int) -> int | None:
        """Class id or ignore label of a stored id; None for one that is neither."""
        wanted = stored if self.id_map is None else self.id_map.get(stored)
        return wanted if wanted == self.ignore_label or wanted in range(len(self.classes)) else None

    def ids(self) -> Counter:
        return sum((seen.ids for seen in self.seen), Counter())

    def present(self) -> set[int]:
        """Class ids that occur."""
        found = map(self.class_of, self.ids())
        return {wanted for wanted in found if wanted is not None and wanted != self.ignore_label}


def describe_sizes(seen: Sequence[Seen]) -> list[str]:
    """Say what sizes the images have, in a line; nothing if none can be read."""
    sizes = [one.size for one in seen if one.size]
    parts = [
        f"{name} {min(sides)} / {statistics.median_low(sides)} / {max(sides)}"
        for name, sides in zip(("height", "width"), zip(*sizes, strict=True), strict=False)
    ]
    return [f"  smallest / median / largest: {', '.join(parts)} pixels"] if parts else []


def describe_levels(seen: Sequence[Seen]) -> list[str]:
    """Say what mean and spread the grey levels of each band have, as overrides; nothing for colours of 8 bits."""
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
    """Whether a file is there, and is empty."""
    return os.path.exists(path) and not os.path.getsize(path)


def look_at_image(path: str, reader: ImageReader | None = None) -> Seen:
    """Note what an image file is, as far as it can be read; what is wrong with it, whoever reads it whole says.

    Args:
        path: The path of the file.
        reader: The reader of the data set's images; None for 8-bit colours.
    """
    seen = Seen(name=os.path.basename(path))
    with contextlib.suppress(ValueError, OSError):
        with open(path, "rb") as file:
            seen.digest = hashlib.file_digest(file, "sha256").hexdigest()
        seen.mode, seen.size, seen.orientation = (reader or ImageReader()).header(path)
    return seen


def look(record: dict, mapper: SemSegMapper) -> Seen:
    """Read an image and its label map as the training does, and note what they are."""
    image, label = record["file_name"], record["sem_seg_file_name"]
    seen = look_at_image(image, mapper.reader)
    try:
        with opened_image(label) as header:
            seen.label_mode = header.mode
        ids, pixels = np.unique(read_stored_ids(record), return_counts=True)
        seen.ids = Counter(dict(zip(ids.tolist(), pixels.tolist(), strict=True)))
    except ValueError:
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
    if isinstance(error, SizesDiffer) and seen.orientation > 4 and error.label_size == seen.size:
        return "turned"
    return _KINDS.get(type(error), "other")
