"""A fully convolutional head on one or several maps of the backbone, for use as main or auxiliary head.

Paper: Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation (CVPR 2015), with the batch
norms, the concatenation and the dropout of later baselines.
"""

from collections.abc import Sequence

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..backbones.norm import convert_batch_norm
from ..contracts import Counts, Targets, given
from ..d2_compat import refuse_yacs
from ..layers.feature_maps import select_maps
from ..layers.resize import resize
from ..losses.pixel import count_pixels, pixel_cross_entropy


@SEM_SEG_HEADS_REGISTRY.register()
class FCNHead(nn.Module):
    """3x3 convolutions and a 1x1 classifier, trained with cross entropy."""

    gives_probabilities = False

    @refuse_yacs
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        channels: Sequence[int],
        num_classes: int,
        width: int = 512,
        num_convs: int = 2,
        concat_input: bool = True,
        dropout: float = 0.1,
        norm: str = "SyncBN",
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            in_features: The names of the backbone's maps; several maps are resized to the first and concatenated.
            channels: The number of channels C_i of each map.
            num_classes: The number of classes K.
            width: The number of channels of the convolutions.
            num_convs: The number of these convolutions, at least 1.
            concat_input: Whether a further convolution is applied to the concatenation of input and output.
            dropout: The probability that a whole channel is dropped before the classifier.
            norm: The kind of batch norm; see `convert_batch_norm`.
            ignore_value: The label of the pixels to ignore.

        Raises:
            ValueError: There is no map or convolution, the numbers of maps and channels differ, or the norm is unknown.
        """
        super().__init__()
        if not in_features or len(in_features) != len(channels):
            raise ValueError(
                f"in_features are {list(in_features)}, channels {list(channels)}; wanted one or more, as many of both"
            )
        if num_convs < 1:
            raise ValueError(f"num_convs is {num_convs}; wanted 1 or more")
        self.in_features, self.ignore_value = list(in_features), ignore_value
        total = sum(channels)
        widths = [total] + [width] * (num_convs - 1)
        self.convs = convert_batch_norm(nn.Sequential(*(_convolution(count, width) for count in widths)), norm)
        self.joint = convert_batch_norm(_convolution(total + width, width), norm) if concat_input else None
        logits = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(logits.weight, std=0.01)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), logits)

    def forward(
        self, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: The maps of the backbone; each of `in_features` is (N, C_i, H_i, W_i).
            targets: The targets in training, with labels (N, h, w).

        Returns:
            In training None and the loss `loss_sem_seg`; in inference logits (N, K, H_1, W_1) and no losses.
        """
        logits = self.decode(features)
        if not self.training:
            return logits, {}
        return None, {"loss_sem_seg": pixel_cross_entropy(logits, given(targets), ignore_value=self.ignore_value)}

    def count(self, targets: Targets) -> Counts:
        """Count the valid pixels."""
        return count_pixels(targets, ignore_value=self.ignore_value)

    def token_maps(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the class logits as maps (N, K, H_1, W_1) by title, for pictures.

        Args:
            features: The maps of the backbone.
        """
        return {"logits": self.decode(features)}

    def decode(self, features: dict[str, Tensor]) -> Tensor:
        """Compute the logits (N, K, H_1, W_1).

        Args:
            features: The maps of the backbone.
        """
        first, *others = select_maps(features, self.in_features)
        size = first.shape[-2:]
        others = [resize(x, size) for x in others]
        x = torch.cat([first, *others], dim=1)
        y = self.convs(x)
        if self.joint is not None:
            y = self.joint(torch.cat([x, y], dim=1))
        return self.classify(y)


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
