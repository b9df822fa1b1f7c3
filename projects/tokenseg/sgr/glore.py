"""GloRe, the baseline of SGR: graph nodes gather features by a linear projection without supervision.

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
            channels: The number of channels C of the features.
            num_nodes: The number of nodes K, by default C / 4.
            width: The number of channels of a node's state; half of C by default.
            norm: Kind of the batch norm on the way back, see `convert_batch_norm`.
        """
        super().__init__()
        num_nodes, width = num_nodes or channels // 4, width or channels // 2
        self.reduce = nn.Conv2d(channels, width, 1)
        self.project = nn.Conv2d(channels, num_nodes, 1)
        self.reason = GraphConvolution(num_nodes=num_nodes, width=width)
        # The scale is initialised with zero, so that the unit is the identity at first; eps is 1e-4.
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
        # Scale before the product, since sums over so many positions would overflow in float16.
        nodes = (flat / flat.shape[-1]) @ self.reduce(x).flatten(2).transpose(1, 2)
        returned = self.reason(nodes).transpose(1, 2) @ flat
        return x + self.back(returned.view(x.shape[0], -1, *x.shape[-2:])), projection

    def token_part(self) -> nn.Module:
        """Return the reasoning module, whose output is the nodes that are projected back to the map."""
        return self.reason

    @staticmethod
    def region_weights(regions: Tensor) -> Tensor:
        """Return the weight of each cell for each node, (N, K, H, W): the magnitude of the projection."""
        return at_least_single(regions).abs()
