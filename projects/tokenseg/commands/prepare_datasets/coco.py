"""COCO 2017: where the files of its archives are written in the registered folder.

The help text of the command, in `tokenseg_cli/arguments/prepare_datasets`, describes both layouts.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...archives import Archive, Entry, FileRule, Preparation, SplitLayout, apply_rules
from . import prepare_dataset

PAGE = "https://cocodataset.org/#download"

RULES = (
    FileRule(pattern=r"(train|val)2017/[^/]+\.jpg", target=lambda match: match[0]),
    FileRule(
        pattern=r"annotations/(instances|person_keypoints|captions)_(train|val)2017\.json",
        target=lambda match: match[0],
    ),
)


def write(archive: Archive, entries: Sequence[Entry], folder: Path) -> None:
    """Write the archive's files."""
    apply_rules(entries, RULES, folder, desc=archive.name)


PREPARATION = Preparation(
    folder="coco",
    archives=(
        Archive(name="train2017.zip", page=PAGE, parts=("train2017",)),
        Archive(name="val2017.zip", page=PAGE, parts=("val2017",)),
        Archive(name="annotations_trainval2017.zip", page=PAGE, parts=("annotations",)),
    ),
    splits=(
        SplitLayout(name="train2017", count=118287, folders={"train2017": ".jpg"}),
        SplitLayout(name="val2017", count=5000, folders={"val2017": ".jpg"}),
        SplitLayout(name="instances_train2017", count=1, folders={"annotations": "instances_train2017.json"}),
        SplitLayout(name="instances_val2017", count=1, folders={"annotations": "instances_val2017.json"}),
    ),
    write=write,
)


def main(args: argparse.Namespace) -> None:
    """Prepare the data set as the arguments say."""
    prepare_dataset(PREPARATION, args)
