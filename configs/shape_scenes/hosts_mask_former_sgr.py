"""The MaskFormer of hosts_mask_former.py with SGR."""

from .hosts_fcn_tuned import begin_wrapped
from .hosts_mask_former import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train
from .sgr_sgr import add_small_sgr

sgr = add_small_sgr(model, dataloader, optimizer)
begin_wrapped(train, optimizer)
train.output_dir = "./output/shape_scenes_hosts_mask_former_sgr"
