"""ECENet with feature reconstruction but without its diversity loss (Table 4)."""

from .ecenet import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

model.sem_seg_head.diversity_weight = 0
train.output_dir = "./output/shape_scenes_ecenet_no_diversity"
