"""COCO-Stuff-10K: where the files of its archive are written in the registered folder.

The help text of the command, in `tokenseg_cli/arguments/prepare_datasets`, describes both layouts.
"""

import argparse
from collections.abc import Sequence
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
from ...datasets.class_names import COCO_STUFF_10K
from . import prepare_dataset

IDS = {0: 255} | {number: place for place, number in enumerate(COCO_STUFF_10K)}


def write(archive: Archive, entries: Sequence[Entry], folder: Path) -> None:
    """Write the images and label maps that the lists name."""
    split = read_lists(entries, {name: f"imageLists/{name}.txt" for name in ("train", "test")})
    rules = (
        FileRule(
            pattern=r"images/([^/]+)\.jpg",
            target=lambda match: split.get(match[1]) and f"images/{split[match[1]]}/{match[1]}.jpg",
        ),
        FileRule(
            pattern=r"annotations/([^/]+)\.mat",
            target=lambda match: split.get(match[1]) and f"annotations/{split[match[1]]}/{match[1]}.png",
            convert=relabel(IDS, read_mat("S")),
        ),
    )
    apply_rules(entries, rules, folder, desc=archive.name)


def _split(name: str, count: int) -> SplitLayout:
    return SplitLayout(name=name, count=count, folders={f"images/{name}": ".jpg", f"annotations/{name}": ".png"})


PREPARATION = Preparation(
    folder="coco_stuff_10k",
    archives=(
        Archive(
            name="cocostuff-10k-v1.1.zip",
            page="https://github.com/nightrome/cocostuff10k",
            parts=("imageLists", "images", "annotations"),
        ),
    ),
    splits=(_split("train", 9000), _split("test", 1000)),
    write=write,
)


def main(args: argparse.Namespace) -> None:
    """Prepare the data set as the arguments say."""
    prepare_dataset(PREPARATION, args)
