"""ECENet with a small Swin on ShapeScenes, trained from scratch with the schedule of structtoken_pwe.py."""

from ..ecenet.model import model
from .structtoken_pwe import dataloader, dataset, lr_multiplier, optimizer, train

pyramid = dict(model_name="swin_tiny_patch4_window7_224", channels=[48, 96, 192, 384])
model.backbone.update(
    pretrained=False,
    drop_path_rate=0.0,
    timm_args=dict(embed_dim=48, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16], window_size=6),
)
model.sem_seg_head.update(width=64, dropout=0.0, norm="BN")
model.inference.stride = 64
train.output_dir = "./output/shape_scenes_ecenet"
