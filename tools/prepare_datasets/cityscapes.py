"""Cityscapes, fine annotations, 19 classes, as Detectron2 registers it.

Archives: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com/downloads
(login needed)

    leftImg8bit/{train,val,test}/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png     2975, 500 and 1525 images
    gtFine/{train,val,test}/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png      ids 0 to 33
                                                    ..._instanceIds.png, ..._color.png, ..._polygons.json

Written to cityscapes/: both, and beside each labelIds file the labelTrainIds file that Detectron2 reads: 0 to 18 for
the 19 classes of the benchmark, 255 for all else. cityscapesScripts is not needed. The test set has no true labels.

Source of the layout: cityscapesScripts' README; of the ids: its table of labels, which Detectron2's
data/datasets/builtin_meta.py repeats; of the counts: the site's page of the archives.

    python tools/prepare_datasets/cityscapes.py --archives FOLDER_OF_BOTH_ARCHIVES
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tokenseg.archives import Archive, Entry, FileRule, Preparation, SplitLayout, apply_rules, main, read_png, relabel

PAGE = "https://www.cityscapes-dataset.com/downloads"

# The place in this list is the training id: road, sidewalk, building, wall, fence, pole, traffic light, traffic sign,
# vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle.
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
    """The files that Detectron2 reads, under the names by which it finds them."""
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

if __name__ == "__main__":
    sys.exit(main(PREPARATION, __doc__))
