"""Class names of the data sets that Detectron2 does not know, with the ids of their archives.

The files in `names` hold lines `id: name`: the id that the archive's label maps use, in the order of the classes.
The id of a class in training is its place in the table, from 0.
"""

from pathlib import Path


def _read(name: str) -> dict[int, str]:
    text = (Path(__file__).parent / "names" / name).read_text(encoding="utf-8")
    pairs = (line.split(": ", 1) for line in text.splitlines())
    return {int(number): label for number, label in pairs}


# 80 things and 91 stuff classes. Of the archive's ids 1..182 eleven have no pixels: things of COCO that were never
# segmented. Source: cocostuff-labels.txt and README of github.com/nightrome/cocostuff10k.
COCO_STUFF_10K = _read("coco_stuff_10k.txt")

# The 59 frequent ones of the archive's 459 labels, in the archive's own order, as mmsegmentation has them. The page's
# 59_labels.txt orders them otherwise and calls three of them diningtable, bedcloth and clothes.
PASCAL_CONTEXT_59 = _read("pascal_context.txt")
BACKGROUND = "background"  # the first of PASCAL-Context's 60 classes: every pixel of none of the 59
