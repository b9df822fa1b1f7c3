"""A further head that learns beside the main one and is not there in inference."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class AuxiliaryHead(nn.Module):
    """A head as one of a segmentor's `extra_losses`."""

    def __init__(self, *, head: nn.Module, weight: float, prefix: str = "aux_") -> None:
        """
        Args:
            head: of the head contract.
            weight: of its losses.
            prefix: of the losses' names, before the head's, after `loss_`.
        """
        super().__init__()
        self.head, self.weight, self.prefix = head, weight, prefix

    def forward(self, features: Mapping[str, Tensor], targets: Tensor, inputs: Sequence[dict]) -> dict[str, Tensor]:
        """
        Args:
            features: of the backbone.
            targets: (N, h, w) class ids or the ignore label.
            inputs: not looked at.

        Returns:
            The head's losses, weighted.
        """
        _, losses = self.head(features, targets)
        return {f"loss_{self.prefix}{name.removeprefix('loss_')}": self.weight * x for name, x in losses.items()}
