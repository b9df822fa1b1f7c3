"""A linear classifier of the 16x16 pixels around each pixel, as a baseline."""

from detectron2.config import LazyCall as L
from torch.nn import Conv2d

from .model import dataloader, dataset, lr_multiplier, model, optimizer, train

model.sem_seg_head.layers = L(Conv2d)(
    in_channels=3, out_channels="${dataset.num_classes}", kernel_size=16, padding="same"
)
train.output_dir = "./output/shape_scenes_patch"
