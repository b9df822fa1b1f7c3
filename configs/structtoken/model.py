"""StructToken-PWE with a plain ViT, which experiments modify; CSE and SSE only replace the function of `blocks`."""

from detectron2.config import LazyCall as L

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.inference.policy import SlidingWindow
from tokenseg.meta_arch import StructToken
from tokenseg.structtoken.blocks import point_wise_blocks
from tokenseg.structtoken.head import StructTokenHead
from tokenseg.structtoken.parts import ConvBlock

from ..common.pixels import IMAGENET

model = L(StructToken)(
    class_weights="${dataset.class_weights}",
    backbone=L(PlainViT)(
        in_chans="${count:${model.pixel_mean}}",
        model_name="${vit.model_name}",
        img_size="${dataset.crop}",
        out_blocks=["${vit.last_block}"],
        drop_path_rate=0.1,
    ),
    sem_seg_head=L(StructTokenHead)(
        in_feature="block${vit.last_block}",
        channels="${vit.channels}",
        num_classes="${dataset.num_classes}",
        img_size="${dataset.crop}",
        stride="${vit.patch_size}",
        blocks=L(point_wise_blocks)(
            num_classes="${dataset.num_classes}",
            channels="${vit.channels}",
            num_blocks=4,
            ffn=dict(mlp_ratio=4, conv=True, group_size=4),
            drop_path=0.1,
            reading="released",
        ),
        refine=L(ConvBlock)(channels="${dataset.num_classes}"),
        ignore_value="${dataset.ignore_label}",
    ),
    inference=L(SlidingWindow)(window="${dataset.crop}", stride=341),
    **IMAGENET,
)
