"""Cityscapes: where the files of its archives are written in the registered folder.

The help text of the command, in `tokenseg_cli/arguments/prepare_datasets`, describes both layouts.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...archives import Archive, Entry, FileRule, Preparation, SplitLayout, apply_rules, read_png, relabel
from . import prepare_dataset

PAGE = "https://www.cityscapes-dataset.com/downloads"

# The label ids of the evaluated classes. The position in this tuple is the training id: road, sidewalk, building, wall,
# fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle,
# bicycle.
CLASSES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IDS = {number: CLASSES.index(number) if number in CLASSES else 255 for number in range(34)}

RULES = (
    FileRule(pattern=r"leftImg8bit/(train|val|test)/[^/]+/[^/]+_leftImg8bit\.png", target=lambda match: match[0]),
    FileRule(
        pattern=r"gtFine/(train|val|test)/[^/]+/[^/]+_gtFine_(labelIds|instanceIds|color)\.png",
        target=lambda match: match[0],
    ),
    FileRule(pattern=r"gtFine/(train|val|test)/[^/]+/[^/]+_gtFine_polygons\.json", target=lambda match: match[0]),
    FileRule(
        pattern=r"(gtFine/(train|val|test)/[^/]+/[^/]+_gtFine)_labelIds\.png",
        target=lambda match: f"{match[1]}_labelTrainIds.png",
        convert=relabel(IDS, read_png),
    ),
)


def write(archive: Archive, entries: Sequence[Entry], folder: Path) -> None:
    """Write the archive's files and the label maps with training ids."""
    apply_rules(entries, RULES, folder, desc=archive.name)


def _splits(name: str, count: int) -> list[SplitLayout]:
    """Return the expected numbers of files, by the names with which Detectron2 looks for them."""
    images, labels = f"leftImg8bit/{name}", f"gtFine/{name}"
    ends = {
        name: "_gtFine_labelTrainIds.png",
        f"{name}, label ids": "_gtFine_labelIds.png",
        f"{name}, instances": "_gtFine_instanceIds.png",
        f"{name}, polygons": "_gtFine_polygons.json",
    }
    return [
        SplitLayout(name=title, count=count, folders={images: "_leftImg8bit.png", labels: end})
        for title, end in ends.items()
    ]


PREPARATION = Preparation(
    folder="cityscapes",
    archives=(
        Archive(name="leftImg8bit_trainvaltest.zip", page=PAGE, parts=("leftImg8bit",)),
        Archive(name="gtFine_trainvaltest.zip", page=PAGE, parts=("gtFine",)),
    ),
    splits=(*_splits("train", 2975), *_splits("val", 500), *_splits("test", 1525)),
    write=write,
)


def main(args: argparse.Namespace) -> None:
    """Prepare the data set as the arguments say."""
    prepare_dataset(PREPARATION, args)
