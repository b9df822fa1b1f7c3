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
"""

from . import parse

__all__ = ["parse"]
