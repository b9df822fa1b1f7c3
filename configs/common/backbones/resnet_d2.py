"""Detectron2's own ResNet-50 and ResNet-101, which configs import and modify.

Their ImageNet weights are MSRA's: train.init_checkpoint=R-50.pkl train.allow_pickle=true. These expect pixels in BGR
order (dataset.image_format=BGR) with mean 103.53, 116.28, 123.675 and standard deviation 1. Unlike timm's models, these
need no padding to multiples of the stride (size_divisibility is 0): the map of an image with H rows has
ceil(H / stride) rows.
"""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import BasicStem, BottleneckBlock, ResNet


def _resnet(depth):
    return L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
        stages=L(ResNet.make_default_stages)(depth=depth, stride_in_1x1=True, norm="FrozenBN"),
        out_features=["res2", "res3", "res4", "res5"],
    )


resnet50 = _resnet(50)
resnet101 = _resnet(101)

# The last stage, which detectors of type C4 run on each region.
region_stage = L(ResNet.make_stage)(
    block_class=BottleneckBlock,
    num_blocks=3,
    stride_per_block=[2, 1, 1],
    in_channels=1024,
    bottleneck_channels=512,
    out_channels=2048,
    stride_in_1x1=True,
    norm="FrozenBN",
)
