"""SGR: soft regions aggregate features into tokens, the tokens interact, and are projected back by the regions.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), sections 3.1 and 3.2.
Choices that the paper leaves open are marked "ours" at the argument that decides them. Here K is the number of concept
regions, which is also that of tokens, and D is the width of a token.

A component takes features (N, C, H, W) and returns enhanced features and its regions; `GloRe` has the same interface.
"""

import math
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.point_conv import zero_bias
from ..layers.single_precision import at_least_single
from .positions import PositionConv, cell_centres, sine_code
from .readings import read_sgr

# Avoids a division by zero, since a region without mass has no mean and no centroid.
_TINY = 1e-6
_REASONING = ("transformer", "graph")
_AGGREGATIONS = ("mean", "sum")


class SemanticReasoning(nn.Module):
    """Concept regions, latent tokens, reasoning between the tokens, and their projection back (Eqs. 1-4)."""

    def __init__(
        self,
        *,
        channels: int,
        num_concepts: int = 512,
        width: int = 256,
        xy_code: bool = True,
        centroid_code: bool = True,
        reasoning: str = "transformer",
        num_layers: int = 2,
        num_heads: int = 8,
        token_aggregation: str | None = None,
        start_probability: float = 0.01,
        reading: str = "ours",
    ) -> None:
        """
        Args:
            channels: The number of channels C of the features.
            num_concepts: K.
            width: D, a multiple of 4 (ours: 256).
            xy_code: Whether cells get a code of their position (Eq. 1).
            centroid_code: Whether tokens get a code of the centroid of their region (Eq. 4).
            reasoning: `transformer`, pre-norm layers with hidden layers of 4 D and a last norm (ours: the order of
                norms and the hidden width); or `graph`, one graph convolution of GloRe's.
            num_layers: The number of layers of the transformer.
            num_heads: The number of heads of the transformer (ours: 8).
            token_aggregation: `mean`, sums over a region divided by its mass (ours: tokens of one size on maps of any
                size); or `sum`, Eq. 3 as printed; by default as the reading has it.
            start_probability: The initial probability that a cell belongs to a region (ours: low, so that the union of
                many regions does not fill the map).
            reading: A key of `READINGS`.

        Raises:
            ValueError: The reasoning, aggregation or reading is unknown, or the width or probability is invalid.
        """
        super().__init__()
        if token_aggregation is None:
            token_aggregation = read_sgr(reading).token_aggregation
        if reasoning not in _REASONING or token_aggregation not in _AGGREGATIONS:
            raise ValueError(
                f"reasoning is '{reasoning}' and token_aggregation '{token_aggregation}'; wanted one of "
                f"{', '.join(_REASONING)} and one of {', '.join(_AGGREGATIONS)}"
            )
        if width % 4 or width % num_heads:
            raise ValueError(f"width is {width}; wanted a multiple of 4 and of num_heads, {num_heads}")
        if not 0 < start_probability < 1:
            raise ValueError(f"start_probability is {start_probability}; wanted more than 0 and less than 1")
        self.num_concepts, self.centroid_code, self.token_aggregation = num_concepts, centroid_code, token_aggregation
        self.concepts = PositionConv(channels=channels, out_channels=num_concepts, code=xy_code)
        self.reduce = PositionConv(channels=channels, out_channels=width, code=xy_code)
        if reasoning == "graph":
            self.reason: nn.Module = GraphConvolution(num_nodes=num_concepts, width=width)
        else:
            blocks = [Block(width, num_heads, mlp_ratio=4.0, qkv_bias=True) for _ in range(num_layers)]
            self.reason = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.back = nn.Conv2d(width, channels, 1)
        nn.init.constant_(self.concepts.bias, math.log(start_probability / (1 - start_probability)))
        # The component is the identity at first (ours).
        nn.init.zeros_(self.back.weight)
        zero_bias(self.back)

    def facts(self) -> dict[str, Any]:
        """The arguments that change no shape of a weight; see `TellsFacts`."""
        return dict(
            xy_code=self.concepts.code,
            centroid_code=self.centroid_code,
            token_aggregation=self.token_aggregation,
            num_heads=[block.attn.num_heads for block in self.reason.modules() if isinstance(block, Block)],
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: Features (N, C, H, W).

        Returns:
            The enhanced features (N, C, H, W), and the regions before the sigmoid (N, K, H, W), in single precision.
        """
        regions = at_least_single(self.concepts(x))
        weights = self.region_weights(regions)  # P, Eq. 2
        tokens = self.reason(self.tokens(x, weights))
        returned = tokens.transpose(1, 2) @ weights.flatten(2).to(tokens.dtype)
        return x + self.back(returned.view(x.shape[0], -1, *x.shape[-2:])), regions

    @staticmethod
    def region_weights(regions: Tensor) -> Tensor:
        """Return how strongly each cell belongs to each region, 0 to 1, from the regions that `forward` returns."""
        return at_least_single(regions).sigmoid()

    def token_part(self) -> nn.Module:
        """Return the reasoning module, whose output is the tokens that are projected back to the map."""
        return self.reason

    def tokens(self, x: Tensor, weights: Tensor) -> Tensor:
        """Compute the latent tokens before the reasoning (Eqs. 3 and 4).

        Args:
            x: Features (N, C, H, W).
            weights: P (N, K, H, W).

        Returns:
            (N, K, D).
        """
        mass = weights.sum(dim=(2, 3)).clamp(min=_TINY)[..., None]
        shares = weights.flatten(2)
        if self.token_aggregation == "mean":
            shares = shares / mass
        reduced = self.reduce(x).flatten(2)
        tokens = shares.to(reduced.dtype) @ reduced.transpose(1, 2)
        if not self.centroid_code:
            return tokens
        height, width = weights.shape[-2:]
        # Sums of products are used, since matrix products would run in half precision under autocast.
        along_x = (weights.sum(dim=2) * cell_centres(width, x.device)).sum(dim=2, keepdim=True) / mass
        along_y = (weights.sum(dim=3) * cell_centres(height, x.device)).sum(dim=2, keepdim=True) / mass
        centroids = torch.cat([along_x, along_y], dim=2)
        code = sine_code(centroids, channels=tokens.shape[-1] // 2).flatten(2)
        return tokens + code.to(self.reduce.weight.dtype)


class GraphConvolution(nn.Module):
    """A graph convolution with a learnt adjacency, as in GloRe (Chen et al., CVPR 2019, Eq. 3)."""

    def __init__(self, *, num_nodes: int, width: int) -> None:
        """
        Args:
            num_nodes: The number of nodes of the graph.
            width: The number of channels of a node's state.
        """
        super().__init__()
        self.adjacency = nn.Linear(num_nodes, num_nodes, bias=False)
        self.update = nn.Linear(width, width)

    def forward(self, nodes: Tensor) -> Tensor:
        """(N, nodes, width) to the same shape: (I - A) V, rectified, times W."""
        neighbours = self.adjacency(nodes.transpose(1, 2)).transpose(1, 2)
        return self.update(F.relu(nodes - neighbours))
