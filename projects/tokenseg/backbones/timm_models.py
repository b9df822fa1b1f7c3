"""Creation of timm's models by name, with errors that tell the user what to do."""

import difflib
import inspect
import re
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

# The type of timm's models. Their only common base class is nn.Module, which does not declare what nearly all of them
# have, such as `blocks`, `feature_info` and `forward_intermediates`. Models that lack these are rejected by a message.
TimmModel = Any

# Arguments that do not affect the weights, or that other facts of a backbone cover.
_SILENT = {"model_name", "num_classes", "global_pool", "img_size", "strict_img_size", "dynamic_img_size"}
_SILENT |= {"dynamic_img_pad", "always_partition", "output_stride", "patch_size", "class_token", "reg_tokens"}
_BLOCKS = re.compile(r"blocks|layer\d")


def create(model_name: str, **timm_args: Any) -> TimmModel:
    """Create a timm model with random weights.

    Args:
        model_name: The name of the model in timm, with or without the tag of its pretrained weights.
        timm_args: Extra keyword arguments for `timm.create_model`.

    Raises:
        ValueError: The name or tag is unknown, or the model does not take the arguments.
    """
    architecture = model_name.split(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        raise ValueError(f"timm has no model '{model_name}'" + (f"; similar names: {', '.join(near)}" if near else ""))
    try:
        timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{architecture}.*"))
        raise ValueError(f"timm has no weights '{model_name}'; it has {tags or 'none for this model'}") from error
    try:
        return timm.create_model(model_name, **timm_args)
    except (AssertionError, TypeError) as error:
        raise ValueError(f"timm cannot build {model_name} with {timm_args}: {error}") from error


def weightless(model_name: str, **timm_args: Any) -> TimmModel:
    """Create a whole timm model on the device `meta`, without memory for its weights; see `create`."""
    with torch.device("meta"):
        return create(model_name, **timm_args)


def plain(timm_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Convert the arguments of a timm model to plain dicts and lists.

    Detectron2's `instantiate` passes dicts as OmegaConf containers, whose lists timm does not accept as lists.
    """
    if isinstance(timm_args, DictConfig):
        return cast("dict[str, Any]", OmegaConf.to_container(timm_args, resolve=True))
    return dict(timm_args or {})


def architecture_args(timm_args: Mapping[str, Any]) -> dict[str, Any]:
    """Select the arguments of a timm model that change the meaning of its weights.

    Dropout rates and input sizes do not. Arguments that other facts of a backbone cover are left out too: patch size,
    class token and output stride.

    Args:
        timm_args: Extra keyword arguments for `timm.create_model`.
    """
    return {name: value for name, value in timm_args.items() if name not in _SILENT and not name.endswith("_rate")}


def backbone_args(model_name: str, in_chans: int, timm_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of a timm model without its classifier, with `in_chans` only if it is not the default 3."""
    channels = {} if in_chans == 3 else {"in_chans": in_chans}
    return dict(model_name=model_name, num_classes=0) | channels | plain(timm_args)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a timm model: the items of its lists `blocks`, and of a ResNet's `layer1` to `layer4`."""
    lists = [part for name, part in model.named_modules() if _BLOCKS.fullmatch(name.rpartition(".")[2])]
    return [block for part in lists for block in part.children()]


def stem(model: nn.Module) -> str:
    """Return name and shape of the weight of a timm model's first convolution: `conv1.weight (64, 3, 7, 7)`."""
    return next(f"{name} {tuple(value.shape)}" for name, value in model.named_parameters() if value.ndim == 4)


def takes(model: nn.Module, argument: str) -> bool:
    """Return whether the class of a timm model has a constructor argument of this name."""
    return argument in inspect.signature(type(model)).parameters


def check_sides(images: Tensor, divisor: int) -> None:
    """Raise a ValueError unless both sides of (N, C, H, W) images are multiples of `divisor` pixels."""
    height, width = images.shape[-2:]
    if height % divisor or width % divisor:
        raise ValueError(
            f"the input has {height}x{width} pixels; wanted multiples of {divisor}, the backbone's size_divisibility"
        )
