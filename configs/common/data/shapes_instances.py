"""Boxes and masks of ShapeScenes' things, generated on first use. Images keep their size."""

from tokenseg.datasets.shape_scenes import THINGS

from .coco_instances import dataloader, dataset

dataset.update(
    train="shapes_instance_train", test="shapes_instance_val", num_classes=len(THINGS), mask_format="bitmask"
)
_resize, _flip = dataloader.train.mapper.augmentations
dataloader.train.mapper.augmentations = [_flip]
dataloader.test.mapper.augmentations = []
dataloader.train.num_workers = dataloader.test.num_workers = 1
# every scene has objects, and an epoch is short: groups would be filled with copies
dataloader.train.update(filter_empty=False, group_by_aspect_ratio=False)
