"""Models of which only the shapes matter: their parameters have no memory and are not initialised."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode

# The functions that fill a parameter in place. On the meta device each call takes as long as building a layer.
FILLS = {"add_", "clamp_", "constant_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "ones_", "uniform_"}
FILLS |= {
    "kaiming_normal_",
    "kaiming_uniform_",
    "trunc_normal_",
    "xavier_normal_",
    "xavier_uniform_",
    "zero_",
    "zeros_",
}


class _Unfilled(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ in FILLS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules that are created inside the block have parameters on the meta device."""
    with torch.device("meta"), _Unfilled():
        yield
