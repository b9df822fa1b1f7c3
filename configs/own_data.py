"""StructToken-PWE with ViT-T on your own data; see projects/tokenseg/datasets/README.md."""

from .common.backbones.vit import vit_t as vit
from .common.data.own import dataloader, dataset
from .common.optim import adamw as optimizer
from .common.optim import poly as lr_multiplier
from .common.train import train
from .structtoken.model import model

dataset.update(crop=256, short_side=256, long_side=1024)
model.inference.stride = 171

train.update(output_dir="./output/own_data", max_iter=4000, eval_period=500)
train.checkpointer.period = 500
optimizer.update(lr=1e-4)
optimizer.params.lr_factors = {"sem_seg_head": 5.0}
lr_multiplier.warmup_iter = 100
dataloader.train.total_batch_size = 8
