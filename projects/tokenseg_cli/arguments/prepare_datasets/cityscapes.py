"""Prepare Cityscapes with fine annotations of 19 classes, as Detectron2 registers it.

Archives: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com/downloads
(which requires a login)

    leftImg8bit/{train,val,test}/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png     2975, 500 and 1525 images
    gtFine/{train,val,test}/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png      ids 0 to 33
                                                    ..._instanceIds.png, ..._color.png, ..._polygons.json

The command writes both to cityscapes/, and next to each labelIds file the labelTrainIds file that Detectron2 reads,
with 0 to 18 for the 19 classes of the benchmark and 255 for everything else. cityscapesScripts is not needed. The test
set has no true labels.

Source of the layout: the README of cityscapesScripts. Source of the ids: its table of labels, which Detectron2's
data/datasets/builtin_meta.py repeats. Source of the counts: the download page of the site.
"""

from . import parse

__all__ = ["parse"]
