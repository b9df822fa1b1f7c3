"""S_I and D_I on COCO val2017 of a model trained on COCO-Stuff-10K, for --eval-only (Tables 2 and 4)."""

from detectron2.config import LazyCall as L

from tokenseg.evaluation.token_metrics import InstanceMasks, TokenMetrics

from .fcn_sgr_resnet_101_coco_stuff_10k_512_60k import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    pyramid,
    sgr,
    train,
)

dataset.test = "coco_2017_val"
dataloader.evaluator = L(TokenMetrics)(masks=L(InstanceMasks)())
