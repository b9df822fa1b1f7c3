"""ECENet without feature reconstruction (Table 4)."""

from .ecenet import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

model.sem_seg_head.reconstructions = None
train.output_dir = "./output/shape_scenes_ecenet_no_reconstruction"
