"""Conversion to single precision for computations that half precision would spoil."""

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Convert float16 and bfloat16 tensors to float32; single and double precision stay as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
