"""Multi-head attention with a fused and an explicit implementation.

Letters: N images, Q tokens, L positions that the tokens attend to, D channels.
"""

import torch
from timm.layers import use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from .point_conv import PointLinear
from .single_precision import at_least_single


class Attention(nn.Module):
    """Multi-head attention from tokens to a memory, which can also return the similarity before the softmax."""

    def __init__(self, *, width: int, num_heads: int, dropout: float) -> None:
        """
        Args:
            width: The number of channels D.
            num_heads: The number of heads, each with D / num_heads channels.
            dropout: The probability that an attention weight is dropped.

        Raises:
            ValueError: `num_heads` does not divide `width`.
        """
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}; wanted a divisor of the width, {width}")
        self.num_heads, self.scale, self.dropout = num_heads, (width // num_heads) ** -0.5, dropout
        self.query, self.key, self.value, self.out = (PointLinear(width, width) for _ in range(4))
        self.fused = use_fused_attn()

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor,
        values: Tensor | None = None,
        *,
        allowed: Tensor | None = None,
        with_similarity: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            tokens: The tokens (N, Q, D), from which the queries are computed.
            memory: The memory (N, L, D), from which the keys are computed.
            values: The input (N, L, D) of the values; by default the memory.
            allowed: The positions that a token may attend to, (N, Q, L) bool, at least one per token; by default all.
            with_similarity: Whether to return the similarity.

        Returns:
            The attention output (N, Q, D), and the similarity of tokens and memory (N, Q, L), averaged over the heads
            and not masked by `allowed`, or None.
        """
        query, key = self.query(tokens), self.key(memory)
        value = self.value(memory if values is None else values)
        queries, keys, values = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
        mask = None if allowed is None else allowed[:, None]
        similarity = None
        if self.fused:
            dropout = self.dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
            if with_similarity:  # the heads are adjacent channels, so their mean is a single product
                similarity = (query * (self.scale / self.num_heads)) @ key.transpose(1, 2)
        else:
            scores = (queries * self.scale) @ keys.transpose(2, 3)
            similarity = scores.mean(dim=1) if with_similarity else None
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            mixed = F.dropout(scores.softmax(dim=-1), self.dropout, self.training) @ values
        return self.out(mixed.transpose(1, 2).flatten(2)), similarity

    def weights(self, tokens: Tensor, memory: Tensor, *, allowed: Tensor | None = None) -> Tensor:
        """Compute the attention weights for inspection; the fused `forward` never holds them.

        Args:
            tokens: The tokens (N, Q, D), from which the queries are computed.
            memory: The memory (N, L, D), from which the keys are computed.
            allowed: The positions that a token may attend to, as in `forward`.

        Returns:
            The weights (N, heads, Q, L), whose rows sum to 1.
        """
        query, key = self.query(tokens) * self.scale, self.key(memory)
        query, key = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, key))
        scores = at_least_single(query @ key.transpose(2, 3))
        if allowed is not None:
            scores = scores.masked_fill(~allowed[:, None], -torch.inf)
        return scores.softmax(dim=-1)
