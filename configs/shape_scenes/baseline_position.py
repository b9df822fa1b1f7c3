"""A baseline that only sees the position of each pixel in the image."""

from detectron2.config import LazyCall as L

from tokenseg.backbones.trivial import PixelPositions
from tokenseg.hosts.per_pixel import point_layers

from .model import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone = L(PixelPositions)(num_frequencies=6)
model.sem_seg_head.in_feature = "positions"
model.sem_seg_head.layers = L(point_layers)(channels=[24, 64, 64, "${dataset.num_classes}"])
train.output_dir = "./output/shape_scenes_position"
