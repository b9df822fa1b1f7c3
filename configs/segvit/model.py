"""SegViT with a plain ViT-B and three levels of attention-to-mask, which experiments modify, and its Shrunk version."""

from detectron2.config import LazyCall as L

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.inference.policy import SlidingWindow
from tokenseg.losses.mask import MaskLoss
from tokenseg.meta_arch import SegViT
from tokenseg.segvit.bases import LinearBases, Repeated
from tokenseg.segvit.head import SegViTHead
from tokenseg.segvit.shrunk import NearestSampling, QueryDownsample, QueryUpsample

from ..common.pixels import HALF

# The decoder has half the channels of the backbone, and the same number of heads.
decoder = dict(width=384, num_heads=12)

model = L(SegViT)(
    class_weights="${dataset.class_weights}",
    backbone=L(PlainViT)(
        in_chans="${count:${model.pixel_mean}}",
        model_name="${vit.model_name}",
        img_size="${dataset.crop}",
        out_blocks=[5, 7, 11],
        drop_path_rate=0.1,
        timm_args=dict(class_token=False),
    ),
    sem_seg_head=L(SegViTHead)(
        bases=L(LinearBases)(
            blocks="${model.backbone.out_blocks}", channels="${vit.channels}", width="${decoder.width}"
        ),
        num_classes="${dataset.num_classes}",
        width="${decoder.width}",
        num_heads="${decoder.num_heads}",
        criterion=L(MaskLoss)(
            num_classes="${dataset.num_classes}",
            weights={"focal": 20.0, "dice": 1.0, "class": 1.0},
            no_object_weight=0.1,
            ignore_value="${dataset.ignore_label}",
        ),
        size_feature="block${model.backbone.out_blocks.0}",
        stride="${vit.patch_size}",
        num_layers=3,
        dropout=0.1,
        reading="printed",
    ),
    inference=L(SlidingWindow)(window="${dataset.crop}", stride=341),
    **HALF,
)


def shrink_naively(model, *, block):
    """Shrink naively (Fig. 3b of the paper): query-based downsampling in a block of the backbone.

    The head has one level on the map of the last block, and the masks of all its layers are supervised.
    """
    model.backbone.out_blocks = [block - 1, "${vit.last_block}"]
    model.backbone.downsample = L(QueryDownsample)(block=block, sample=L(NearestSampling)())
    bases = model.sem_seg_head.bases
    bases.blocks = ["${vit.last_block}"]
    model.sem_seg_head.update(bases=L(Repeated)(bases=bases, times=3), num_layers=1, sum_masks=False)


def shrink(model, *, block):
    """Make the model a Shrunk one.

    Query-based downsampling is in the given block of the backbone, and query-based upsampling uses the maps of the
    block before it and of the last block.
    """
    shrink_naively(model, block=block)
    model.sem_seg_head.bases.bases = L(QueryUpsample)(
        blocks="${model.backbone.out_blocks}",
        channels="${vit.channels}",
        width="${decoder.width}",
        img_size="${dataset.crop}",
        stride="${vit.patch_size}",
        num_heads="${decoder.num_heads}",
        num_layers=3,
        dropout=0.1,
    )
