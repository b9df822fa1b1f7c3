"""COCO-Stuff-10K, version 1.1, 171 classes.

Archive: cocostuff-10k-v1.1.zip from https://github.com/nightrome/cocostuff10k

    images/COCO_train2014_*.jpg         10000 images
    annotations/COCO_train2014_*.mat    variable S: 0 is unlabelled, 1 to 91 are things, 92 to 182 stuff
    imageLists/{train,test}.txt         9000 and 1000 names without an end; all.txt has both

Written to coco_stuff_10k/: images/{train,test}/*.jpg and annotations/{train,test}/*.png with ids 0 to 170, and 255 for
unlabelled pixels. Eleven of the ids name things that nobody segmented (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91); a
file with one of them is refused: such ids stand for other classes in version 1.0.

Source of the layout and the ids: that repository's README, cocostuff-labels.txt, demo_cocoStuff.m and, for the eleven,
convertAnnotationsToVersion11.m, which maps no pixel to them; mmsegmentation's converter leaves out the same. Source of
the counts: the lists of the same repository's DeepLab models.

    python tools/prepare_datasets/coco_stuff_10k.py --archives cocostuff-10k-v1.1.zip
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tokenseg.archives import (
    Archive,
    Entry,
    FileRule,
    Preparation,
    SplitLayout,
    apply_rules,
    main,
    read_lists,
    read_mat,
    relabel,
)
from tokenseg.datasets.class_names import COCO_STUFF_10K

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

if __name__ == "__main__":
    sys.exit(main(PREPARATION, __doc__))
