"""Mixed precision, which `train.amp` configures."""

import contextlib
from collections.abc import Iterator

import torch
from omegaconf import DictConfig

from ..inference.cpu_attention import AttentionByProducts, products_are_faster

_AMP_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def amp_dtype(config: DictConfig, device: str) -> torch.dtype | None:
    """Return the data type of mixed precision, or None if it is disabled.

    Args:
        config: The section `train.amp` of a config.
        device: The type of the device, `cpu` or `cuda`.

    Raises:
        ValueError: The data type is unknown, or it is float16 on the CPU.
    """
    if config.dtype not in _AMP_TYPES:
        raise ValueError(f"train.amp.dtype is '{config.dtype}'; wanted {' or '.join(_AMP_TYPES)}")
    if config.enabled and config.dtype == "float16" and device == "cpu":
        raise ValueError("train.amp.dtype is float16, which needs a GPU; wanted bfloat16 on the CPU")
    return _AMP_TYPES[config.dtype] if config.enabled else None


@contextlib.contextmanager
def autocast(device: torch.device, dtype: torch.dtype | None, *, keep_casts: bool = True) -> Iterator[None]:
    """Inside the block, operations run in mixed precision, if a data type is given.

    Entered without gradients, it also chooses the faster attention on CPUs; see `inference.cpu_attention`.

    Args:
        device: The device on which the operations run.
        dtype: The data type of mixed precision, or None for full precision.
        keep_casts: Whether weights that were cast to this type are cached until the end of the block, for reuse.
    """
    with contextlib.ExitStack() as stack:
        if dtype is not None:
            stack.enter_context(torch.autocast(device.type, dtype=dtype, cache_enabled=keep_casts))
        if dtype == torch.bfloat16 and device.type == "cpu" and not torch.is_grad_enabled() and products_are_faster():
            stack.enter_context(AttentionByProducts())
        yield
