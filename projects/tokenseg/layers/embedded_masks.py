"""The predictions of a mask classifier: masks as products of query embeddings and a feature map.

Letters: N images, Q queries, K classes, C channels, h x w the size of the map.
"""

from typing import NamedTuple

from torch import Tensor


class EmbeddedMasks(NamedTuple):
    """The predictions of the queries at one stage. Masks are computed on demand, since a loss needs few of them.

    Args:
        embeddings: The mask embeddings (N, Q, C) of the queries.
        features: The feature map (N, C, h, w), which all stages share.
        class_logits: The class logits (N, Q, K+1), the last one for 'no object'.
    """

    embeddings: Tensor
    features: Tensor
    class_logits: Tensor

    @property
    def masks(self) -> Tensor:
        """The masks of all queries before the sigmoid, (N, Q, h, w)."""
        return embedded_masks(self.embeddings, self.features)


def embedded_masks(embeddings: Tensor, features: Tensor) -> Tensor:
    """(N, Q, C) embeddings and an (N, C, h, w) map to masks before the sigmoid (N, Q, h, w)."""
    return (embeddings @ features.flatten(2)).unflatten(2, features.shape[-2:])
