"""PASCAL-Context with 60 classes: class 0 is the background, which is every other pixel, and the 59 classes follow."""

from .pascal_context_59 import dataloader, dataset

dataset.update(
    train="pascal_context_60_sem_seg_train",
    test="pascal_context_60_sem_seg_val",
    num_classes=dataset.num_classes + 1,
)
