"""The same model as mask_rcnn_dc5_sgr, for a backbone whose tokens were not supervised in pretraining either.

Only train.init_backbone.file=FILE differs: FILE is the exported backbone of an FCN with SGR that was trained with the
overrides model.extra_losses.regions=null dataloader.train.mapper.label_targets=null.
"""

from .mask_rcnn_dc5_sgr_resnet_101_coco_800_270k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    pyramid,
    sgr,
    train,
)
