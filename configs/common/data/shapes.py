"""ShapeScenes, generated on first use."""

from tokenseg.data.shape_scenes import CLASSES

from .sem_seg import dataloader, dataset

dataset.update(train="shapes_sem_seg_train", test="shapes_sem_seg_val", num_classes=len(CLASSES))
dataset.update(short_side=128, long_side=512, crop=112)
dataloader.train.num_workers = dataloader.test.num_workers = 1
