"""StructToken-PWE with a small ViT on ShapeScenes, trained from scratch in about ten minutes on two cores."""

from .common.data.shapes import dataloader, dataset
from .common.optim import adamw as optimizer
from .common.optim import poly as lr_multiplier
from .common.train import train
from .structtoken.model import model

vit = dict(model_name="vit_tiny_patch16_224", channels=128, patch_size=8, last_block=5)
model.backbone.update(
    pretrained=False, timm_args=dict(patch_size="${vit.patch_size}", embed_dim="${vit.channels}", depth=6, num_heads=4)
)
model.inference.stride = 64
# Stochastic depth and large first steps do more harm than good in such a short training.
model.backbone.drop_path_rate = model.sem_seg_head.blocks.drop_path = 0.0
train.clip_grad_norm = 1.0

train.update(output_dir="./output/quickstart", max_iter=2500, eval_period=500, log_period=20)
train.checkpointer.period = 200
optimizer.update(lr=1e-3, weight_decay=0.05)
lr_multiplier.warmup_iter = 100
dataloader.train.total_batch_size = 8
