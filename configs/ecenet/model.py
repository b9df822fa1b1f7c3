"""ECENet with all its parts on a hierarchical backbone, with the settings for Swin; experiments modify it."""

from detectron2.config import LazyCall as L

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.ecenet.blocks import SemanticsAttention
from tokenseg.ecenet.head import ECENetHead
from tokenseg.ecenet.readings import gated_updater
from tokenseg.ecenet.reconstruction import feature_reconstructions
from tokenseg.inference.policy import SlidingWindow
from tokenseg.layers.class_embedding import ExplicitClassExtraction
from tokenseg.losses.mask import MaskLoss
from tokenseg.meta_arch import ECENet

from ..common.pixels import IMAGENET

model = L(ECENet)(
    class_weights="${dataset.class_weights}",
    backbone=L(TimmPyramid)(
        model_name="${pyramid.model_name}", out_norm=True, drop_path_rate=0.3, in_chans="${count:${model.pixel_mean}}"
    ),
    sem_seg_head=L(ECENetHead)(
        in_features=["res2", "res3", "res4", "res5"],
        channels="${pyramid.channels}",
        num_classes="${dataset.num_classes}",
        reconstructions=L(feature_reconstructions)(
            channels="${model.sem_seg_head.channels}", reading="${model.sem_seg_head.reading}"
        ),
        extraction=L(ExplicitClassExtraction)(
            num_classes="${dataset.num_classes}", width="${model.sem_seg_head.width}", alpha=1.0
        ),
        attention=L(SemanticsAttention)(
            width="${model.sem_seg_head.width}", num_heads=4, mlp_ratio=4, reading="${model.sem_seg_head.reading}"
        ),
        updater=L(gated_updater)(width="${model.sem_seg_head.width}", reading="${model.sem_seg_head.reading}"),
        width=256,
        mask_groups=4,
        upscale_steps=[0, 1, 2, 3],
        dropout=0.1,
        mask_loss=L(MaskLoss)(
            num_classes="${dataset.num_classes}",
            weights=dict(focal=5.0, dice=2.0),
            ignore_value="${dataset.ignore_label}",
        ),
        diversity_weight=0.2,
        norm="SyncBN",
        # `printed` follows the paper, `released` the authors' code, and `default` partly one and partly the other; see
        # projects/tokenseg/ecenet/DIFFERENCES.md.
        reading="default",
        ignore_value="${dataset.ignore_label}",
    ),
    inference=L(SlidingWindow)(window="${dataset.crop}", stride=608),
    **IMAGENET,
)
