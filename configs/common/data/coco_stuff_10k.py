"""COCO-Stuff-10K with 171 classes. The long side of test images has no upper bound."""

from tokenseg.datasets.class_names import COCO_STUFF_10K

from .sem_seg import dataloader, dataset

dataset.update(
    train="coco_stuff_10k_sem_seg_train",
    test="coco_stuff_10k_sem_seg_test",
    num_classes=len(COCO_STUFF_10K),
    test_long_side=None,
    test_least_short_side="${dataset.crop}",
)
