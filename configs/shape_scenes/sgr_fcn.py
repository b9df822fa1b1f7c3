"""The baseline of SGR: a dilated FCN with a small ResNet, trained from scratch with the schedule of structtoken_pwe."""

from ..sgr.model import fcn as model
from .structtoken_pwe import dataloader, dataset, lr_multiplier, optimizer, train

pyramid = dict(model_name="resnet18", channels=[32, 64, 128, 256])
model.backbone.update(pretrained=False, norm="BN", timm_args=dict(channels="${pyramid.channels}"))
model.sem_seg_head.update(width=128, dropout=0.0, norm="BN")
model.extra_losses.auxiliary.head.update(width=64, dropout=0.0, norm="BN")
optimizer.lr = 4e-3  # the best of 1e-3, 2e-3 and 4e-3, also with GloRe and with SGR, which were tuned separately
train.output_dir = "./output/shape_scenes_sgr_fcn"
