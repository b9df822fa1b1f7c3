"""ADE20K: where the files of its archive are written in the registered folder.

The help text of the command, in `tokenseg_cli/arguments/prepare_datasets`, describes both layouts.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...archives import Archive, Entry, FileRule, Preparation, SplitLayout, apply_rules, read_png, relabel
from . import prepare_dataset

IDS = {0: 255} | {number: number - 1 for number in range(1, 151)}

RULES = (
    FileRule(pattern=r"images/(training|validation)/[^/]+\.jpg", target=lambda match: match[0]),
    FileRule(pattern=r"annotations/(training|validation)/[^/]+\.png", target=lambda match: match[0]),
    FileRule(
        pattern=r"annotations/((training|validation)/[^/]+\.png)",
        target=lambda match: f"annotations_detectron2/{match[1]}",
        convert=relabel(IDS, read_png),
    ),
    FileRule(pattern=r"(objectInfo150|sceneCategories)\.txt", target=lambda match: match[0]),
)


def write(archive: Archive, entries: Sequence[Entry], folder: Path) -> None:
    """Write the archive's files and the label maps with Detectron2's ids."""
    apply_rules(entries, RULES, folder, desc=archive.name)


def _split(name: str, count: int) -> SplitLayout:
    ends = {"images": ".jpg", "annotations": ".png", "annotations_detectron2": ".png"}
    return SplitLayout(name=name, count=count, folders={f"{part}/{name}": end for part, end in ends.items()})


PREPARATION = Preparation(
    folder="ADEChallengeData2016",
    archives=(
        Archive(
            name="ADEChallengeData2016.zip",
            page="http://sceneparsing.csail.mit.edu",
            top="ADEChallengeData2016",
            parts=("images/training", "images/validation", "annotations/training", "annotations/validation"),
        ),
    ),
    splits=(_split("training", 20210), _split("validation", 2000)),
    write=write,
)


def main(args: argparse.Namespace) -> None:
    """Prepare the data set as the arguments say."""
    prepare_dataset(PREPARATION, args)
