"""A baseline that only sees the colour of each pixel."""

from detectron2.config import LazyCall as L

from tokenseg.hosts.per_pixel import point_layers

from .model import dataloader, dataset, lr_multiplier, model, optimizer, train

model.sem_seg_head.layers = L(point_layers)(channels=[3, 64, 64, "${dataset.num_classes}"])
train.output_dir = "./output/shape_scenes_color"
