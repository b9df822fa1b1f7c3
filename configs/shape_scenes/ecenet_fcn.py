"""The baseline of ECENet: a fully convolutional head on all four stages of the same backbone."""

from detectron2.config import LazyCall as L

from tokenseg.hosts.fcn import FCNHead
from tokenseg.segmentor import Segmentor

from .ecenet import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

_ecenet = model.sem_seg_head
model.update(
    _target_=Segmentor,
    sem_seg_head=L(FCNHead)(
        in_features=_ecenet.in_features,
        channels="${pyramid.channels}",
        num_classes="${dataset.num_classes}",
        width=_ecenet.width,
        dropout=_ecenet.dropout,
        norm=_ecenet.norm,
        ignore_value="${dataset.ignore_label}",
    ),
)
optimizer.lr = 4e-3  # the best of 1e-3, 2e-3, 4e-3 and 8e-3 for this head; ECENet's best is 2e-3
train.output_dir = "./output/shape_scenes_ecenet_fcn"
