"""ADE20K with 150 classes, as registered by Detectron2."""

from .sem_seg import dataloader, dataset

dataset.update(train="ade20k_sem_seg_train", test="ade20k_sem_seg_val", num_classes=150)
