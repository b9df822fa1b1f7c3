"""Cityscapes with 19 classes, as registered by Detectron2."""

from .sem_seg import dataloader, dataset

dataset.update(
    train="cityscapes_fine_sem_seg_train",
    test="cityscapes_fine_sem_seg_val",
    num_classes=19,
    short_side=1024,
    long_side=2048,
)
