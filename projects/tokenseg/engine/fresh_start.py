"""The initial weights of a fresh training: those of a checkpoint, of an exported backbone, or of timm."""

import logging

from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..backbone_file import load_backbone, read_backbone
from .build import load_pretrained
from .checkpoint import Checkpointer

logger = logging.getLogger(__name__)


def check_fresh_start(config: DictConfig) -> None:
    """Check the settings of the initial weights early, before anything is built.

    Raises:
        ValueError: `train.init_backbone.file` is not an exported backbone, or `train.init_checkpoint` is set too.
    """
    file = OmegaConf.select(config, "train.init_backbone.file")
    if not file:
        return
    if config.train.init_checkpoint:
        raise ValueError(
            f"train.init_backbone.file is {file} and train.init_checkpoint is {config.train.init_checkpoint}; wanted "
            "only one of them, since a checkpoint contains a backbone too"
        )
    try:
        read_backbone(file, facts_alone=True)
    except ValueError as error:
        raise ValueError(f"train.init_backbone.file: {error}") from error


def load_fresh_start(config: DictConfig, model: nn.Module) -> None:
    """Load the weights from which a fresh training starts.

    Args:
        config: The config of the run.
        model: The model, whose weights are changed in place.

    Raises:
        ValueError: Weights are not available, or do not fit the model.
    """
    check_fresh_start(config)
    settings = config.train
    if settings.init_checkpoint:
        starter = Checkpointer(
            model,
            strict=False,  # for fine-tuning: the weights that fit are loaded, and the others are logged
            skip_mismatched=settings.skip_mismatched,
            allow_pickle=settings.allow_pickle,
        )
        starter.load(settings.init_checkpoint)
        logger.info("Initialised from %s", settings.init_checkpoint)
        return
    if OmegaConf.select(config, "train.init_backbone.file"):
        _load_exported(config, model)
    load_pretrained(model)  # into the parts that have no weights yet


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
