"""Attention in bfloat16 on a CPU, from plain matrix products where they are faster than torch's fused kernel.

The fused kernel converts bfloat16 to single precision on CPUs without matrix units, and so forgoes their bfloat16
instructions, which make a matrix product up to three times as fast.
"""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# With so many similarities at once, 2 MiB in bfloat16, the products are efficient and their results stay in the cache.
_PIECE = 2**20
# With fewer similarities per head, the calls of the operations take longer than what they save.
_LEAST = 2**15

# Up to this number of threads torch's kernel stays behind. It divides heads and queries among threads, whereas the
# products come one after another, and with many threads each is too small to be divided.
_MOST_THREADS = 8

# The arguments of `scaled_dot_product_attention` that may be positional, in their order.
_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def products_are_faster() -> bool:
    """Tell whether attention from bfloat16 products is faster than torch's fused kernel in this process.

    It is where oneDNN multiplies bfloat16 by the CPU's own instructions, and threads are few. With AMX, whose matrix
    units the fused kernel uses, this has not been measured, and torch's kernel stays.
    """
    onednn = torch.backends.mkldnn
    used = onednn.is_available() and bool(onednn.enabled)
    return used and torch.get_num_threads() <= _MOST_THREADS and _has_instructions()


@functools.cache
def _has_instructions() -> bool:
    """Tell whether the CPU has bfloat16 instructions and no AMX, and the user has not forbidden oneDNN to use them."""
    limited = "ONEDNN_MAX_CPU_ISA" in os.environ or "DNNL_MAX_CPU_ISA" in os.environ
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported() and not limited


class AttentionByProducts(TorchFunctionMode):
    """Inside the block, `attention_by_products` takes the place of torch's kernel for large inputs in bfloat16.

    This holds for direct calls of `scaled_dot_product_attention` without mask and gradient, as in timm's layers and
    ours, but not for torch's own `MultiheadAttention`.
    """

    def __torch_function__(
        self,
        func: Callable,
        types: Iterable[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            given = dict(zip(_ARGUMENTS, args, strict=False)) | dict(kwargs)
            if _suits(**given):
                inputs = (given[name] for name in ("query", "key", "value"))
                return attention_by_products(*inputs, scale=given.get("scale"))
        return func(*args, **kwargs)


def _suits(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: object,
) -> bool:
    return (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and all(x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.dim() == 4 for x in (query, key, value))
        and query.shape[:2] == key.shape[:2] == value.shape[:2]  # neither broadcast nor grouped
        and query.shape[2] * key.shape[2] >= _LEAST
        and attn_mask is None
        and dropout_p == 0
        and not is_causal
    )


def attention_by_products(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """Compute what `torch.nn.functional.scaled_dot_product_attention` computes, head by head and in blocks of queries.

    Args:
        query: The queries (N, heads, Q, C).
        key: The keys (N, heads, L, C).
        value: The values (N, heads, L, D).
        scale: The factor of the products of queries and keys; by default 1 / sqrt(C).

    Returns:
        The mixed values (N, heads, Q, D), in which the heads of a query are adjacent in memory, since layers join them
        next. In bfloat16 the similarities and their softmax are rounded to bfloat16, which the fused kernel keeps in
        single precision.
    """
    scale = query.shape[3] ** -0.5 if scale is None else scale
    images, heads, queries, _ = query.shape
    mixed = query.new_empty(images, queries, heads, value.shape[3]).transpose(1, 2)
    rows = max(1, _PIECE // key.shape[2])
    for image in range(images):
        for head in range(heads):
            keys, values = key[image, head].T, value[image, head]
            for start in range(0, queries, rows):
                similarity = (query[image, head, start : start + rows] * scale) @ keys
                mixed[image, head, start : start + rows] = similarity.softmax(dim=-1) @ values
    return mixed
