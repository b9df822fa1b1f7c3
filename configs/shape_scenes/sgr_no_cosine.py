"""SGR without the cosine term (Table 4)."""

from .sgr_sgr import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, sgr, train

sgr.gamma = 0.0
train.output_dir = "./output/shape_scenes_sgr_no_cosine"
