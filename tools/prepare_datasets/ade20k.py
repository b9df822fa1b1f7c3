"""ADE20K, the 150 classes of the scene parsing benchmark, as Detectron2 registers it.

Archive: ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu

    ADEChallengeData2016/
      images/{training,validation}/*.jpg         20210 and 2000 images
      annotations/{training,validation}/*.png    grey; 0 is 'other', 1 to 150 are the classes
      objectInfo150.txt, sceneCategories.txt

Written to ADEChallengeData2016/: all of that, and annotations_detectron2/{training,validation}/*.png with the ids that
Detectron2 wants: 0 to 149, and 255 for 'other'.

Source of the layout, the ids and the counts: the benchmark's README (github.com/CSAILVision/sceneparsing) and
Detectron2's data/datasets/builtin.py.

    python tools/prepare_datasets/ade20k.py --archives ADEChallengeData2016.zip
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tokenseg.archives import Archive, Entry, FileRule, Preparation, SplitLayout, apply_rules, main, read_png, relabel

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

if __name__ == "__main__":
    sys.exit(main(PREPARATION, __doc__))
