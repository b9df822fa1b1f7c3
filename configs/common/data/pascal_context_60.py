"""PASCAL-Context, 60 classes: the 59, and before them the background, which is every other pixel."""

from .pascal_context_59 import dataloader, dataset

dataset.update(
    train="pascal_context_60_sem_seg_train",
    test="pascal_context_60_sem_seg_val",
    num_classes=dataset.num_classes + 1,
)
