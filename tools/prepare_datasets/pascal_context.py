"""PASCAL-Context with 59 classes, and with 60 where the background is one.

Archives: VOCtrainval_03-May-2010.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2010

    VOCdevkit/VOC2010/
      JPEGImages/*.jpg                    among them the 10103 images
      ImageSets/Main/{train,val}.txt      4998 and 5105 names

and trainval.tar.gz from https://cs.stanford.edu/~roozbeh/pascal-context (also https://roozbehm.info/pascal-context)

    trainval/*.mat    10103 files; the variable LabelMap holds the ids 1 to 459, and 0 where there is none
    labels.txt        the 459 names

Written to pascal_context/: images/{train,val}/*.jpg, annotations_59/{train,val}/*.png with ids 0 to 58 for the 59
frequent classes and 255 elsewhere, annotations_60/{train,val}/*.png with 0 for the background, which is every other
pixel, and 1 to 59. Classes stand in the order of labels.txt.

The split is that of VOC2010's own lists of the main task. The Detail toolkit's trainval_merged.json, which
mmsegmentation uses, has 4996 and 5104 images, the numbers that some papers print.

Source of the layouts: VOC2010's development kit, and scripts that read the label archive (the Broden data set's
download script, FCN's data layer). Source of the 59 ids: the table in ODISE's preparation script, held against the list
of 459 names. Source of the counts: github.com/zhanghang1989/PyTorch-Encoding/issues/155 (both pairs) and VOC2010's
statistics (10103 together).

    python tools/prepare_datasets/pascal_context.py --archives FOLDER_OF_BOTH_ARCHIVES
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
from tokenseg.datasets.class_names import PASCAL_CONTEXT_59

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
    """Write the images that the lists name, or the label maps of the images that are there."""
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


def _write_labels(entries: Sequence[Entry], folder: Path) -> None:
    split = {path.stem: path.parent.name for path in folder.glob("images/*/*.jpg")}
    rules = [
        FileRule(
            pattern=r"trainval/([^/]+)\.mat",
            target=lambda match, part=part: split.get(match[1]) and f"{part}/{split[match[1]]}/{match[1]}.png",
            convert=relabel(ids, read_mat("LabelMap")),
        )
        for part, ids in {"annotations_59": IDS_59, "annotations_60": IDS_60}.items()
    ]
    apply_rules(entries, rules, folder, desc=LABELS.name)


def _check_names(entries: Sequence[Entry]) -> None:
    """Raise ValueError if the archive's own list of names gives one of our ids another name."""
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

if __name__ == "__main__":
    sys.exit(main(PREPARATION, __doc__))
