"""Prepare COCO 2017 with images and the annotations of things, as Detectron2 registers it.

Archives: train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download

    train2017/*.jpg    118287 images
    val2017/*.jpg      5000 images
    annotations/{instances,person_keypoints,captions}_{train,val}2017.json

The command writes these files unchanged to coco/. No label map is converted, and panoptic annotations are not needed.

Source of the layout: that page and Detectron2's data/datasets/builtin.py. Source of the counts: the lists of images in
the annotations.
"""

from . import parse

__all__ = ["parse"]
