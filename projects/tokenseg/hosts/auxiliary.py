"""An auxiliary head, which is trained together with the main head and not used in inference."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..contracts import Counts, Head, Targets


class AuxiliaryHead(nn.Module):
    """Wraps a head as one of a segmentor's `extra_losses`."""

    def __init__(self, *, head: Head, weight: float, prefix: str = "aux_") -> None:
        """
        Args:
            head: The auxiliary head.
            weight: The weight of the head's losses.
            prefix: The text inserted after `loss_` in the names of the head's losses.
        """
        super().__init__()
        self.head, self.weight, self.prefix = head, weight, prefix

    def count(self, targets: Targets) -> Counts:
        """Compute the counts of the head."""
        return self.head.count(targets)

    def forward(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """
        Args:
            features: The maps of the backbone.
            targets: The targets that the head learns from.

        Returns:
            The weighted losses of the head.
        """
        _, losses = self.head(features, targets)
        return {f"loss_{self.prefix}{name.removeprefix('loss_')}": self.weight * x for name, x in losses.items()}
