import pytest
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn

from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor


class Strided(Backbone):
    size_divisibility = 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)

    def output_shape(self):
        return {"map": ShapeSpec(channels=8, stride=4)}

    def forward(self, images):
        return {"map": self.conv(images)}


@pytest.fixture
def segmentor():
    """A segmentor with a backbone of stride 4, a 1x1 convolution to three classes, and a coloured pixel mean."""
    head = PerPixelHead(in_feature="map", layers=nn.Conv2d(8, 3, 1))
    return Segmentor(backbone=Strided(), sem_seg_head=head, pixel_mean=[10, 20, 30], pixel_std=[50.0] * 3).eval()
