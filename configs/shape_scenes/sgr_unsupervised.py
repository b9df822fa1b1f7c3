"""SGR whose regions nothing supervises (Table 4)."""

from .sgr_sgr import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, sgr, train

model.extra_losses.regions = dataloader.train.mapper.label_targets = None
optimizer.lr = 2e-3  # of 2e-3 and 4e-3 the better
train.output_dir = "./output/shape_scenes_sgr_unsupervised"
