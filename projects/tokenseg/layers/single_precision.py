"""Single precision for what half precision would spoil."""

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """A tensor of float16 or bfloat16 as float32; single and double precision stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
