"""Prepare PASCAL-Context with 59 classes, and with 60 classes including the background.

Archives: VOCtrainval_03-May-2010.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2010

    VOCdevkit/VOC2010/
      JPEGImages/*.jpg                    among them the 10103 images
      ImageSets/Main/{train,val}.txt      4998 and 5105 names

and trainval.tar.gz from https://cs.stanford.edu/~roozbeh/pascal-context (also https://roozbehm.info/pascal-context)

    trainval/*.mat    10103 files; the variable LabelMap holds the ids 1 to 459, and 0 where there is none
    labels.txt        the 459 names

The command writes to pascal_context/ the files images/{train,val}/*.jpg, annotations_59/{train,val}/*.png with ids 0 to
58 for the 59 most frequent classes and 255 elsewhere, and annotations_60/{train,val}/*.png with ids 1 to 59 for these
classes and 0 elsewhere, for the background. Classes are in the order of labels.txt.

The split is that of VOC2010's own lists for the main task. The Detail toolkit's trainval_merged.json, which
mmsegmentation uses, has 4996 and 5104 images, the numbers that some papers report.

Source of the layouts: VOC2010's development kit, and scripts that read the label archive (the Broden data set's
download script, FCN's data layer). Source of the 59 ids: the table in ODISE's preparation script, checked against the
list of 459 names. Source of the counts: github.com/zhanghang1989/PyTorch-Encoding/issues/155 (both splits) and
VOC2010's statistics (10103 in total).
"""

from . import parse

__all__ = ["parse"]
