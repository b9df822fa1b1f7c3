"""ADE20K, 150 classes, as Detectron2 registers it."""

from .sem_seg import dataloader, dataset

dataset.update(train="ade20k_sem_seg_train", test="ade20k_sem_seg_val", num_classes=150)
