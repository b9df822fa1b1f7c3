"""SGR's FCN on the same small ResNet, whose res5 keeps its stride of 32: the backbone that the hosts begin from."""

from .sgr_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

model.backbone.output_stride = 32
train.output_dir = "./output/shape_scenes_hosts_fcn"
