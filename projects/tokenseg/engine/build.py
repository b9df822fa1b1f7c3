"""Construction of a config's model, and the preparation of a model for training."""

import logging
from collections.abc import Callable

from omegaconf import DictConfig
from torch import nn

from ..config.instantiate import instantiate
from ..contracts import BeginsPretrained
from ..inference.policy import Model, MultiScale
from .devices import resolve_device

logger = logging.getLogger(__name__)


def build_model(config: DictConfig, *, device: str | None = None) -> nn.Module:
    """Build the model of a config, with test-time augmentation over scales and flips if `train.tta` enables it.

    Args:
        config: The config.
        device: The device that the model is moved to; by default the one that `train.device` requests.

    Raises:
        ValueError: A part cannot be built, or `train.tta` has invalid scales or is enabled for a model without an
            inference policy.
    """
    model = instantiate(config.model).to(device or resolve_device(config.train.device))
    tta = config.train.tta
    if tta.enabled and not isinstance(model, Model):
        raise ValueError(
            f"train.tta.enabled is true, but {type(model).__name__} has no inference policy that could run at several "
            "scales; wanted train.tta.enabled=false"
        )
    if tta.enabled:
        try:
            model.inference = MultiScale(policy=model.inference, scales=tta.scales, flip=tta.flip)
        except (TypeError, ValueError) as error:
            raise ValueError(f"train.tta: {error}") from error
    return model


def load_pretrained(model: nn.Module) -> None:
    """Load pretrained weights into every part of a model that requests them, at any depth, and log these parts.

    A part such as a wrapper also loads the weights of the parts inside it, so these are not loaded a second time.

    Raises:
        ValueError: The weights of a part are not available.
    """
    loaded: list[str] = []
    for name, part in model.named_modules():
        inside = any(name.startswith(f"{outer}.") or not outer for outer in loaded)
        if inside or not isinstance(part, BeginsPretrained) or not part.pretrained:
            continue
        part.load_pretrained()
        logger.info("%s (%s) starts from its pretrained weights", name or "The model", type(part).__name__)
        loaded.append(name)
    if not loaded:
        logger.info("No part of the model requests pretrained weights: weights that no file has set start at random")


def begin_random(model: nn.Module) -> nn.Module:
    """Mark all parts of a model as deliberately random, as in a benchmark, and return the model.

    Without this mark a backbone that requests pretrained weights refuses to train without them.
    """
    for part in model.modules():
        if isinstance(part, BeginsPretrained):
            part.pretrained = False
    return model


def compile_parts(model: nn.Module, *, backend: str | Callable = "inductor") -> None:
    """Compile the parts of a model whose inputs have a fixed size in training: the backbone and the head.

    A detector's proposals and regions of interest vary in number from image to image, so the parts that process them
    would be recompiled constantly.

    Args:
        model: The model; each of these parts is compiled when it is first called.
        backend: The backend of `torch.compile`, or its name.
    """
    parts = dict(model.named_children())
    compiled = [name for name in ("backbone", "sem_seg_head", "head") if name in parts]
    for name in compiled:
        parts[name].compile(backend=backend)
    eager = [name for name, part in parts.items() if name not in compiled and any(True for _ in part.parameters())]
    logger.info("Compiled: %s; not compiled: %s", ", ".join(compiled) or "nothing", ", ".join(eager) or "nothing")
