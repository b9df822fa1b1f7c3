"""A further head that learns beside the main one and is not there in inference."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..contracts import Counts, Head, Targets


class AuxiliaryHead(nn.Module):
    """A head as one of a segmentor's `extra_losses`."""

    def __init__(self, *, head: Head, weight: float, prefix: str = "aux_") -> None:
        """
        Args:
            head: The head, in training.
            weight: The weight of its losses.
            prefix: What stands between `loss_` and the head's own name in the names of its losses.
        """
        super().__init__()
        self.head, self.weight, self.prefix = head, weight, prefix

    def count(self, targets: Targets) -> Counts:
        """What the head counts."""
        return self.head.count(targets)

    def forward(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            features: The maps of the backbone.
            targets: The targets that the head learns from.

        Returns:
            The head's losses, weighted.
        """
        _, losses = self.head(features, targets)
        return {f"loss_{self.prefix}{name.removeprefix('loss_')}": self.weight * x for name, x in losses.items()}
