"""ShapeScenes, generated on first use. Images keep their size and, being of any colour, their colours."""

from tokenseg.datasets.shape_scenes import CLASSES

from .sem_seg import dataloader, dataset

dataset.update(train="shapes_sem_seg_train", test="shapes_sem_seg_val", num_classes=len(CLASSES), crop=96)
_resize, _crop, _flip, _color, _pad = dataloader.train.mapper.augmentations
dataloader.train.mapper.augmentations = [_crop, _flip, _pad]
dataloader.test.mapper.augmentations = []
dataloader.train.num_workers = dataloader.test.num_workers = 1
