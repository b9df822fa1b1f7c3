"""The weights that a fresh training begins from: a checkpoint's, an exported backbone's, or timm's."""

import logging

from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..backbone_file import load_backbone, read_backbone
from .build import load_pretrained
from .checkpoint import Checkpointer

logger = logging.getLogger(__name__)


def check_fresh_start(config: DictConfig) -> None:
    """Refuse, before anything is built, what a fresh training cannot begin from.

    Raises:
        ValueError: `train.init_backbone.file` is no exported backbone, or is given beside `train.init_checkpoint`.
    """
    file = OmegaConf.select(config, "train.init_backbone.file")
    if not file:
        return
    if config.train.init_checkpoint:
        raise ValueError(
            f"train.init_backbone.file is {file} and train.init_checkpoint {config.train.init_checkpoint}; wanted one "
            "of both, since a checkpoint holds a backbone too"
        )
    try:
        read_backbone(file, facts_alone=True)
    except ValueError as error:
        raise ValueError(f"train.init_backbone.file: {error}") from error


def load_fresh_start(config: DictConfig, model: nn.Module) -> None:
    """Load the weights that a fresh training begins from.

    Args:
        config: The config of the run.
        model: The model, which is filled in place.

    Raises:
        ValueError: Weights are not available, or do not fit.
    """
    check_fresh_start(config)
    settings = config.train
    if settings.init_checkpoint:
        starter = Checkpointer(
            model,
            strict=False,  # fine-tuning: what fits is taken, the rest is listed
            skip_mismatched=settings.skip_mismatched,
            allow_pickle=settings.allow_pickle,
        )
        starter.load(settings.init_checkpoint)
        logger.info("Initialised from %s", settings.init_checkpoint)
        return
    if OmegaConf.select(config, "train.init_backbone.file"):
        _load_exported(config, model)
    load_pretrained(model)  # into what is not filled


def _load_exported(config: DictConfig, model: nn.Module) -> None:
    exported = config.train.init_backbone
    try:
        load_backbone(
            model,
            exported.file,
            exported.accept_stride,
            drop_component=exported.drop_component,
            image_format=OmegaConf.select(config, "dataloader.train.mapper.image_format"),
        )
    except ValueError as error:
        raise ValueError(f"train.init_backbone: {error}") from error
