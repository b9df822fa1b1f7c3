"""The model of a config."""

from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import nn

from ..inference.policy import MultiScale
from .devices import resolve_device


def build_model(config: DictConfig) -> nn.Module:
    """The model of a config on its device, averaging over scales and flips in inference if `train.tta` says so."""
    model = instantiate(config.model).to(resolve_device(config.train.device))
    tta = config.train.tta
    if tta.enabled:
        model.inference = MultiScale(policy=model.inference, scales=tta.scales, flip=tta.flip)
    return model
