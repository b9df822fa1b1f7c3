"""Masks as products of queries' embeddings and a map: what a mask classifier predicts.

Letters: N images, Q queries, K classes, C channels, h x w the size of the map.
"""

from typing import NamedTuple

from torch import Tensor


class EmbeddedMasks(NamedTuple):
    """What the queries say at one stage. The masks are computed when they are asked for, since a loss needs few.

    Args:
        embeddings: (N, Q, C), one vector a query.
        features: (N, C, h, w), the map that all stages share.
        class_logits: (N, Q, K+1), the last one 'no object'.
    """

    embeddings: Tensor
    features: Tensor
    class_logits: Tensor

    @property
    def masks(self) -> Tensor:
        """All queries' masks before the sigmoid, (N, Q, h, w)."""
        return embedded_masks(self.embeddings, self.features)


def embedded_masks(embeddings: Tensor, features: Tensor) -> Tensor:
    """(N, Q, C) embeddings and an (N, C, h, w) map to masks before the sigmoid (N, Q, h, w)."""
    return (embeddings @ features.flatten(2)).unflatten(2, features.shape[-2:])
