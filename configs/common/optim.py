"""Optimisers and schedules, to be imported and changed."""

from detectron2.config import LazyCall as L
from torch.optim import AdamW

from tokenseg.solver import parameter_groups, warmup_poly

adamw = L(AdamW)(
    params=L(parameter_groups)(
        # train_net.py puts the model here
        model=None,
        lr="${optimizer.lr}",
        weight_decay="${optimizer.weight_decay}",
        lr_factors={},
    ),
    lr=1e-4,
    betas=(0.9, 0.999),
    weight_decay=0.01,
)

poly = L(warmup_poly)(max_iter="${train.max_iter}", warmup_iter=1500, power=1.0)
