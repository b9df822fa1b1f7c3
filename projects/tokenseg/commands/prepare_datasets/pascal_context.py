"""PASCAL-Context: where the files of its archives are written in the registered folder.

The help text of the command, in `tokenseg_cli/arguments/prepare_datasets`, describes both layouts.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ...archives import (
    Archive,
    Entry,
    FileRule,
    Preparation,
    SplitLayout,
    apply_rules,
    read_lists,
    read_mat,
    relabel,
)
from ...datasets.class_names import PASCAL_CONTEXT_59
from . import prepare_dataset

IMAGES = Archive(
    name="VOCtrainval_03-May-2010.tar",
    page="http://host.robots.ox.ac.uk/pascal/VOC/voc2010",
    top="VOCdevkit/VOC2010",
    parts=("ImageSets/Main", "JPEGImages"),
)
LABELS = Archive(name="trainval.tar.gz", page="https://cs.stanford.edu/~roozbeh/pascal-context", parts=("trainval",))

IDS_59 = dict.fromkeys(range(460), 255) | {number: place for place, number in enumerate(PASCAL_CONTEXT_59)}
IDS_60 = dict.fromkeys(range(460), 0) | {number: place for place, number in enumerate(PASCAL_CONTEXT_59, 1)}


def write(archive: Archive, entries: Sequence[Entry], folder: Path) -> None:
    """Write the images that the lists name, or the label maps of the images that have been written."""
    if archive is IMAGES:
        _write_images(entries, folder)
    else:
        _check_names(entries)
        _write_labels(entries, folder)


def _write_images(entries: Sequence[Entry], folder: Path) -> None:
    split = read_lists(entries, {name: f"ImageSets/Main/{name}.txt" for name in ("train", "val")})
    rule = FileRule(
        pattern=r"JPEGImages/([^/]+)\.jpg",
        target=lambda match: split.get(match[1]) and f"images/{split[match[1]]}/{match[1]}.jpg",
    )
    apply_rules(entries, [rule], folder, desc=IMAGES.name)


def _label_place(split: Mapping[str, str], part: str, match: re.Match) -> str | None:
    """Return where the label map of an image is written, or None if the image is in neither split."""
    return f"{part}/{split[match[1]]}/{match[1]}.png" if match[1] in split else None


def _write_labels(entries: Sequence[Entry], folder: Path) -> None:
    split = {path.stem: path.parent.name for path in folder.glob("images/*/*.jpg")}
    rules = [
        FileRule(
            pattern=r"trainval/([^/]+)\.mat",
            target=partial(_label_place, split, part),
            convert=relabel(ids, read_mat("LabelMap")),
        )
        for part, ids in {"annotations_59": IDS_59, "annotations_60": IDS_60}.items()
    ]
    apply_rules(entries, rules, folder, desc=LABELS.name)


def _check_names(entries: Sequence[Entry]) -> None:
    """Raise a ValueError if the archive's own list of names has another name for one of our ids."""
    for entry in entries:
        if entry.name == "labels.txt":
            lines = (line.partition(":") for line in entry.read().decode().splitlines())
            names = {int(number): name.replace(" ", "") for number, _, name in lines if number.strip().isdigit()}
            wrong = [
                f"{number} is {names.get(number)}"
                for number, name in PASCAL_CONTEXT_59.items()
                if names.get(number) != name
            ]
            if wrong:
                raise ValueError(f"labels.txt does not name the classes as expected: {', '.join(wrong[:8])}")


def _split(name: str, count: int) -> SplitLayout:
    ends = {"images": ".jpg", "annotations_59": ".png", "annotations_60": ".png"}
    return SplitLayout(name=name, count=count, folders={f"{part}/{name}": end for part, end in ends.items()})


PREPARATION = Preparation(
    folder="pascal_context",
    archives=(IMAGES, LABELS),
    splits=(_split("train", 4998), _split("val", 5105)),
    write=write,
)


def main(args: argparse.Namespace) -> None:
    """Prepare the data set as the arguments say."""
    prepare_dataset(PREPARATION, args)
