"""A small StructToken on images of four bands of 16 bits, from scratch; see projects/tokenseg/datasets/README.md."""

from .own_data import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

dataset.update(
    images="field/images",
    labels="field/labels",
    classes=["soil", "plants"],
    bands=["red", "green", "blue", "nir"],
    value_range=[0, 10000],
    crop=96,
    short_side=96,
)
model.update(pixel_mean=[64, 64, 64, 78], pixel_std=[15, 15, 15, 27])
model.backbone.pretrained = False
model.inference.stride = 64
train.update(output_dir="./output/four_bands", max_iter=100, eval_period=50, log_period=10)
optimizer.lr = 4e-4
lr_multiplier.warmup_iter = 10
