"""The class names of the data sets that Detectron2 does not register, with the ids in their archives.

Each line of the files in `names` is `id: name`, with the id that the archive's label maps use. The class id in training
is the index of the line, from 0.
"""

from pathlib import Path


def _read(name: str) -> dict[int, str]:
    text = (Path(__file__).parent / "names" / name).read_text(encoding="utf-8")
    pairs = (line.split(": ", 1) for line in text.splitlines())
    return {int(number): label for number, label in pairs}


# 80 thing and 91 stuff classes. Eleven of the archive's ids 1..182 have no pixels; they are things of COCO that were
# never segmented. Source: cocostuff-labels.txt and README of github.com/nightrome/cocostuff10k.
COCO_STUFF_10K = _read("coco_stuff_10k.txt")

# The 59 most frequent of the archive's 459 labels, in the order of the archive, like in mmsegmentation. The file
# 59_labels.txt on the data set's web page has another order and names three of them diningtable, bedcloth and clothes.
PASCAL_CONTEXT_59 = _read("pascal_context.txt")
BACKGROUND = "background"  # the first of PASCAL-Context's 60 classes: all pixels that belong to none of the 59
