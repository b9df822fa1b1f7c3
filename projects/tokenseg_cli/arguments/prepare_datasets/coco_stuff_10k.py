"""Prepare COCO-Stuff-10K, version 1.1, with 171 classes.

Archive: cocostuff-10k-v1.1.zip from https://github.com/nightrome/cocostuff10k

    images/COCO_train2014_*.jpg         10000 images
    annotations/COCO_train2014_*.mat    variable S: 0 is unlabelled, 1 to 91 are things, 92 to 182 stuff
    imageLists/{train,test}.txt         9000 and 1000 names without suffix; all.txt has both

The command writes to coco_stuff_10k/ the files images/{train,test}/*.jpg, and annotations/{train,test}/*.png with ids 0
to 170 for the classes and 255 for unlabelled pixels. Eleven of the 182 ids are never used, since these things were not
annotated (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91). A file with one of them is rejected, since they mean other
classes in version 1.0.

Source of the layout and the ids: the README, cocostuff-labels.txt and demo_cocoStuff.m of that repository and, for the
eleven ids, convertAnnotationsToVersion11.m, which maps no pixel to them; mmsegmentation's converter leaves out the same
ids. Source of the counts: the lists of the same repository's DeepLab models.
"""

from . import parse

__all__ = ["parse"]
