"""StructToken-PWE; CSE and SSE only replace the function of `blocks`."""

from ..structtoken.model import model
from .model import dataloader, dataset, lr_multiplier, optimizer, plain_vit, start_from_pretrained, train

vit, model.backbone = plain_vit()
model.sem_seg_head.blocks.drop_path = 0.0
start_from_pretrained(model, "vit")
train.output_dir = "./output/evidence/structtoken_pwe_${dataset.level}"
