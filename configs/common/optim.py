"""Optimisers and learning rate schedules, which configs import and modify."""

from detectron2.config import LazyCall as L
from torch.optim import SGD, AdamW

from tokenseg.solver import parameter_groups, warmup_poly, warmup_step


def _groups():
    return L(parameter_groups)(
        model=None,  # set by the training loop
        lr="${optimizer.lr}",
        weight_decay="${optimizer.weight_decay}",
        lr_factors={},
        # Whether weight decay applies to the weights and biases of norms, or a list of the parts to whose norms it
        # applies.
        decay_norms=False,
        # The factor of the learning rate from each layer of a timm backbone to the layer before it.
        layer_decay=1.0,
    )


adamw = L(AdamW)(params=_groups(), lr=1e-4, betas=(0.9, 0.999), weight_decay=0.01)

sgd = L(SGD)(params=_groups(), lr=0.01, momentum=0.9, weight_decay=5e-4)

poly = L(warmup_poly)(max_iter="${train.max_iter}", warmup_iter=1500, power=1.0)

step = L(warmup_step)(max_iter="${train.max_iter}", milestones=[], gamma=0.1, warmup_iter=1000, warmup_factor=1e-3)
