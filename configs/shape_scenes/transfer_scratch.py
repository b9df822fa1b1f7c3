"""A small Mask R-CNN on ShapeScenes' instances, from scratch, on the ResNet of SGR's FCN here."""

from tokenseg.backbones.pyramid import TimmPyramid

from ..common.data.shapes_instances import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.train import train
from ..detection.model import dc5 as model
from .sgr_fcn import pyramid

model.backbone.update(pretrained=False, norm="BN", freeze_at=0, timm_args=dict(channels="${pyramid.channels}"))

# things are 25 to 60 pixels wide
rpn, heads = model.proposal_generator, model.roi_heads
rpn.anchor_generator.sizes = [[20, 32, 48]]
rpn.head.num_anchors = 9
rpn.update(batch_size_per_image=64, pre_nms_topk=[400, 200], post_nms_topk=[200, 50])
heads.update(batch_size_per_image=32, positive_fraction=0.5)
heads.box_head.fc_dims = [256, 256]
heads.box_predictor.input_shape.channels = 256
# one mask for all classes
heads.mask_head.update(num_classes=1, conv_dims=[64, 64, 64])

train.update(output_dir="./output/transfer_scratch", max_iter=400, eval_period=0, best_metric="segm/AP")
train.clip_grad_norm = 1.0
train.amp.enabled = True
optimizer.update(lr=2e-3, weight_decay=0.05)
lr_multiplier.warmup_iter = 50
dataloader.train.total_batch_size = 8
