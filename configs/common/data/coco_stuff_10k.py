"""COCO-Stuff-10K, 171 classes. Test images have no bound on the long side."""

from tokenseg.datasets.class_names import COCO_STUFF_10K

from .sem_seg import dataloader, dataset

dataset.update(
    train="coco_stuff_10k_sem_seg_train",
    test="coco_stuff_10k_sem_seg_test",
    num_classes=len(COCO_STUFF_10K),
    test_long_side=None,
    test_least_short_side="${dataset.crop}",
)
