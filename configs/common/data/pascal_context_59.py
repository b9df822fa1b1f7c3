"""PASCAL-Context with 59 classes; all other pixels are ignored. The long side of test images has no upper bound."""

from tokenseg.datasets.class_names import PASCAL_CONTEXT_59

from .sem_seg import dataloader, dataset

dataset.update(
    train="pascal_context_59_sem_seg_train",
    test="pascal_context_59_sem_seg_val",
    num_classes=len(PASCAL_CONTEXT_59),
    short_side=520,
    long_side=520,
    test_long_side=None,
    test_least_short_side="${dataset.crop}",
    crop=480,
)
