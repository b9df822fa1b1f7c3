"""Boxes and masks of the things in ShapeScenes, which is generated on first use. Images are not resized."""

from tokenseg.datasets.shape_scenes import THINGS

from .coco_instances import dataloader, dataset

dataset.update(
    train="shapes_instance_train", test="shapes_instance_val", num_classes=len(THINGS), mask_format="bitmask"
)
_resize, _flip = dataloader.train.mapper.augmentations
dataloader.train.mapper.augmentations = [_flip]
dataloader.test.mapper.augmentations = []
dataloader.train.num_workers = dataloader.test.num_workers = 1
# Every image has objects. Grouping by aspect ratio makes no sense in such short epochs, since images would be repeated
# to fill the groups.
dataloader.train.update(filter_empty=False, group_by_aspect_ratio=False)
