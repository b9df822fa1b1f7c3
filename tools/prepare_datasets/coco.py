"""COCO 2017, images and the annotations of things, as Detectron2 registers it.

Archives: train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download

    train2017/*.jpg    118287 images
    val2017/*.jpg      5000 images
    annotations/{instances,person_keypoints,captions}_{train,val}2017.json

Written to coco/ as they are; no label map is converted, and panoptic annotations are not needed.

Source of the layout: that page and Detectron2's data/datasets/builtin.py; of the counts: the lists of images in the
annotations.

    python tools/prepare_datasets/coco.py --archives FOLDER_OF_THE_ARCHIVES
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tokenseg.archives import Archive, Entry, FileRule, Preparation, SplitLayout, apply_rules, main

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

if __name__ == "__main__":
    sys.exit(main(PREPARATION, __doc__))
