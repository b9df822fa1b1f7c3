"""A small Mask R-CNN on the instances of ShapeScenes, with the backbone of sgr_fcn.py.

It is trained from scratch or, with train.init_backbone.file=FILE train.init_backbone.accept_stride=8, from the exported
backbone of that FCN.
"""

from ..common.data.shapes_instances import dataloader, dataset
from ..common.optim import adamw as optimizer
from ..common.optim import poly as lr_multiplier
from ..common.train import train
from ..detection.model import dc5 as model
from .sgr_fcn import pyramid

# With random initial weights, nothing can be frozen.
model.backbone.update(pretrained=False, norm="BN", freeze_at=0, timm_args=dict(channels="${pyramid.channels}"))

# The things in these images are 25 to 60 pixels wide.
rpn, heads = model.proposal_generator, model.roi_heads
rpn.anchor_generator.sizes = [[20, 32, 48]]
rpn.head.num_anchors = 9
rpn.update(batch_size_per_image=64, pre_nms_topk=[400, 200], post_nms_topk=[200, 50])
# A short training has too few regions with objects to learn separate masks for every class, so all classes share one.
heads.update(batch_size_per_image=16, positive_fraction=0.5)
heads.mask_head.update(num_classes=1, conv_dims=[64, 64, 64])
heads.box_head.fc_dims = [256, 256]

train.update(output_dir="./output/transfer_mask_rcnn", max_iter=150, eval_period=0, best_metric="segm/AP")
train.update(clip_grad_norm=1.0, checkpointer=dict(period=100, max_to_keep=1))
train.amp.enabled = True
optimizer.update(lr=4e-3, weight_decay=0.05)  # the best rate for both; see configs/tables/transfer_rates.yaml
lr_multiplier.warmup_iter = 30
dataloader.train.total_batch_size = 8
