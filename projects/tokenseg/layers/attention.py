"""Multi-head attention, fused or written out.

Letters: N images, Q tokens, L positions of what they attend to, D channels.
"""

import torch
from timm.layers import use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F

from .point_conv import PointLinear
from .single_precision import at_least_single


class Attention(nn.Module):
    """Multi-head attention of one set of tokens to another, and its similarity before the softmax."""

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
            tokens: (N, Q, D), of which the queries are made.
            memory: (N, L, D), of which the keys are made.
            values: (N, L, D), of which the values are made; the memory by default.
            allowed: (N, Q, L) bool, which positions a token may attend to, at least one; all by default.
            with_similarity: Whether the similarity is wanted.

        Returns:
            What the tokens saw (N, Q, D), and the mean over the heads of their similarity to the memory (N, Q, L), for
            all positions, or None.
        """
        query, key = self.query(tokens), self.key(memory)
        value = self.value(memory if values is None else values)
        queries, keys, values = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
        mask = None if allowed is None else allowed[:, None]
        similarity = None
        if self.fused:
            dropout = self.dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
            if with_similarity:  # the heads lie side by side: their mean is one product over all channels
                similarity = (query * (self.scale / self.num_heads)) @ key.transpose(1, 2)
        else:
            scores = (queries * self.scale) @ keys.transpose(2, 3)
            similarity = scores.mean(dim=1) if with_similarity else None
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            mixed = F.dropout(scores.softmax(dim=-1), self.dropout, self.training) @ values
        return self.out(mixed.transpose(1, 2).flatten(2)), similarity

    def weights(self, tokens: Tensor, memory: Tensor, *, allowed: Tensor | None = None) -> Tensor:
        """How much every token attends to every position, for who looks at it; `forward` need not make it.

        Args:
            tokens: (N, Q, D), of which the queries are made.
            memory: (N, L, D), of which the keys are made.
            allowed: As in `forward`.

        Returns:
            (N, heads, Q, L), each row of sum 1.
        """
        query, key = self.query(tokens) * self.scale, self.key(memory)
        query, key = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, key))
        scores = at_least_single(query @ key.transpose(2, 3))
        if allowed is not None:
            scores = scores.masked_fill(~allowed[:, None], -torch.inf)
        return scores.softmax(dim=-1)
