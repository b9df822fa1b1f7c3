"""SGR without supervision of its regions (Table 4)."""

from .sgr_sgr import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, sgr, train

model.extra_losses.regions = dataloader.train.mapper.label_targets = None
optimizer.lr = 2e-3  # better than 4e-3
train.output_dir = "./output/shape_scenes_sgr_unsupervised"
