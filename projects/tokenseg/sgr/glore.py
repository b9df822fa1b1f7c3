"""GloRe, which SGR is compared with: nodes of a graph gather features by a linear projection that nothing supervises.

Paper: Chen et al.: Graph-Based Global Reasoning Networks (CVPR 2019), section 3.
"""

from torch import Tensor, nn

from ..backbones.norm import convert_batch_norm
from ..layers.single_precision import at_least_single
from .reasoning import GraphConvolution


class GloRe(nn.Module):
    """The global reasoning unit; its regions are the rows of its projection."""

    def __init__(
        self, *, channels: int, num_nodes: int | None = None, width: int | None = None, norm: str = "SyncBN"
    ) -> None:
        """
        Args:
            channels: C of the features.
            num_nodes: K; a quarter of C by default.
            width: The number of channels of a node's state; half of C by default.
            norm: Kind of the batch norm on the way back, see `convert_batch_norm`.
        """
        super().__init__()
        num_nodes, width = num_nodes or channels // 4, width or channels // 2
        self.reduce = nn.Conv2d(channels, width, 1)
        self.project = nn.Conv2d(channels, num_nodes, 1)
        self.reason = GraphConvolution(num_nodes=num_nodes, width=width)
        # eps 1e-4 and a scale of zero: at the start the features come out as they went in
        scale = nn.BatchNorm2d(channels, eps=1e-4)
        nn.init.zeros_(scale.weight)
        back = nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), scale)
        self.back = convert_batch_norm(back, norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: Features (N, C, H, W).

        Returns:
            The features enhanced (N, C, H, W), and the projection (N, K, H, W), of any sign.
        """
        projection = self.project(x)
        flat = projection.flatten(2)
        # scaled first: in float16 the sum over so many positions would overflow
        nodes = (flat / flat.shape[-1]) @ self.reduce(x).flatten(2).transpose(1, 2)
        returned = self.reason(nodes).transpose(1, 2) @ flat
        return x + self.back(returned.view(x.shape[0], -1, *x.shape[-2:])), projection

    def token_part(self) -> nn.Module:
        """The reasoning, which gives the nodes that are handed back to the map."""
        return self.reason

    @staticmethod
    def region_weights(regions: Tensor) -> Tensor:
        """How much each cell counts for each node, from what `forward` returns: sizes, (N, K, H, W)."""
        return at_least_single(regions).abs()
