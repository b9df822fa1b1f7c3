"""PASCAL-Context, 59 classes; all other pixels are ignored. Test images have a short side of their own."""

from tokenseg.datasets.class_names import PASCAL_CONTEXT_59

from .sem_seg import dataloader, dataset

dataset.update(
    train="pascal_context_59_sem_seg_train",
    test="pascal_context_59_sem_seg_val",
    num_classes=len(PASCAL_CONTEXT_59),
    short_side=520,
    long_side=520,
    test_short_side=480,
    test_long_side=2048,
    crop=480,
)
dataloader.test.mapper.augmentations[0].update(short="${dataset.test_short_side}", long="${dataset.test_long_side}")
