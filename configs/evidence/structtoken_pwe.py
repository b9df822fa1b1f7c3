"""StructToken-PWE; CSE and SSE only replace the function of `blocks`."""

from ..structtoken.model import model
from .model import begin, dataloader, dataset, lr_multiplier, optimizer, plain_vit, train

vit, model.backbone = plain_vit()
model.sem_seg_head.blocks.drop_path = 0.0
begin(model, "vit")
train.output_dir = "./output/evidence/structtoken_pwe_${dataset.level}"
