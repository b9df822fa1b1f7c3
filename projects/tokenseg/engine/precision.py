"""Mixed precision, as `train.amp` asks for it."""

import contextlib
from collections.abc import Iterator

import torch
from omegaconf import DictConfig

_AMP_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def amp_dtype(config: DictConfig, device: str) -> torch.dtype | None:
    """Type of mixed precision that `train.amp` asks for, None when it is off.

    Raises:
        ValueError: An unknown type, or float16 on the CPU.
    """
    if config.dtype not in _AMP_TYPES:
        raise ValueError(f"train.amp.dtype is '{config.dtype}'; wanted {' or '.join(_AMP_TYPES)}")
    if config.enabled and config.dtype == "float16" and device == "cpu":
        raise ValueError("train.amp.dtype is float16, which needs a GPU; wanted bfloat16 on the CPU")
    return _AMP_TYPES[config.dtype] if config.enabled else None


@contextlib.contextmanager
def autocast(device: torch.device, dtype: torch.dtype | None, *, keep_casts: bool = True) -> Iterator[None]:
    """Mixed precision in `dtype` on the device, or none.

    Args:
        device: The device.
        dtype: The type of mixed precision; None is off.
        keep_casts: Whether weights that were cast are kept until the end of the block, in case they are used again.
    """
    mixed = dtype is not None
    with torch.autocast(device.type, dtype=dtype, cache_enabled=keep_casts) if mixed else contextlib.nullcontext():
        yield
