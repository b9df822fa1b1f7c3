"""Freezing of parts of a model during training."""

import logging
from collections.abc import Sequence
from fnmatch import fnmatch

from torch import nn

logger = logging.getLogger(__name__)


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters of some parts of a model, and the running statistics of their batch norms.

    Dropout and stochastic depth stay active in these parts.

    Args:
        model: The model, which is changed in place.
        patterns: The names of modules or parameters, with the wildcards `*` and `?`, such as `backbone` or
            `backbone.vit.blocks.[0-5]*`. The name of a module covers everything inside it.

    Raises:
        ValueError: A pattern matches nothing, or nothing is left to train.
    """
    for pattern in patterns:
        parameters = [each for name, each in model.named_parameters() if _lies_in(name, pattern)]
        if not parameters:
            parts = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"train.freeze has '{pattern}', which matches no part of the model; its parts are {parts}")
        for parameter in parameters:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"train.freeze is {list(patterns)}, which leaves nothing to train")
    frozen = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and any(_lies_in(name, pattern) for pattern in patterns)
    ]
    for module in frozen:
        # A hook is needed because every later `model.train()` puts this module into training mode again.
        module.register_forward_pre_hook(_keep_statistics)
    if patterns:
        count = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
        logger.info(
            "Frozen by train.freeze: %.2f M parameters, and the statistics of %d batch norms", count / 1e6, len(frozen)
        )


def _keep_statistics(module: nn.Module, _inputs: object) -> None:
    module.eval()


def _lies_in(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a name, or the name of a module that contains it."""
    parts = name.split(".")
    return any(fnmatch(".".join(parts[:depth]), pattern) for depth in range(1, len(parts) + 1))
