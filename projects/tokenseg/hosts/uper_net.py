"""UperNet: pyramid pooling on the coarsest map, followed by a feature pyramid network over all maps.

Paper: Xiao et al.: Unified Perceptual Parsing for Scene Understanding (ECCV 2018), section 3.1, with the pyramid
pooling of Zhao et al.: Pyramid Scene Parsing Network (CVPR 2017). This is only the branch for semantic segmentation,
with the numbers of channels that later work uses. Letters: N images, K classes, D channels of the pyramid, H_i x W_i
the size of map i.
"""

from collections.abc import Sequence

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..backbones.norm import convert_batch_norm
from ..contracts import Counts, Targets, given
from ..d2_compat import refuse_yacs
from ..layers.adaptive_pool import AdaptiveAverage
from ..layers.feature_maps import select_maps
from ..layers.point_conv import zero_bias
from ..layers.resize import resize
from ..losses.pixel import count_pixels, pixel_cross_entropy


@SEM_SEG_HEADS_REGISTRY.register()
class UperNetHead(nn.Module):
    """UperNet's head, trained with cross entropy."""

    gives_probabilities = False

    @refuse_yacs
    def __init__(
        self,
        *,
        channels: Sequence[int],
        num_classes: int,
        in_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        width: int = 512,
        grids: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        norm: str = "SyncBN",
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            channels: The number of channels of each map.
            num_classes: The number of classes K.
            in_features: The names of the backbone's maps, from the finest to the coarsest; two or more.
            width: The number of channels D of the pyramid.
            grids: The side lengths of the square grids to which the coarsest map is pooled.
            dropout: The probability that a whole channel is dropped before the classifier.
            norm: The kind of batch norm; see `convert_batch_norm`.
            ignore_value: The label of the pixels to ignore.

        Raises:
            ValueError: There are fewer than two maps, `channels` and `in_features` differ in length, or the norm is
                unknown.
        """
        super().__init__()
        if len(in_features) < 2 or len(in_features) != len(channels):
            raise ValueError(
                f"in_features are {list(in_features)}, channels {list(channels)}; wanted two or more, as many of both"
            )
        self.in_features, self.ignore_value = list(in_features), ignore_value
        *finer, coarsest = channels
        self.pools = nn.ModuleList(
            nn.Sequential(AdaptiveAverage(side), *_convolution(coarsest, width, 1)) for side in grids
        )
        self.joint_pools = _convolution(coarsest + len(grids) * width, width, 3)
        self.laterals = nn.ModuleList(_convolution(count, width, 1) for count in finer)
        self.outputs = nn.ModuleList(_convolution(width, width, 3) for _ in finer)
        self.joint = _convolution(len(channels) * width, width, 3)
        for name, part in list(self.named_children()):
            self.add_module(name, convert_batch_norm(part, norm))
        logits = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(logits.weight, std=0.01)
        zero_bias(logits)
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

        Raises:
            ValueError: A map of `in_features` is missing.
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
        *finer, coarsest = select_maps(features, self.in_features)
        pooled = [resize(pool(coarsest), coarsest.shape[-2:]) for pool in self.pools]
        x = self.joint_pools(torch.cat([coarsest, *pooled], dim=1))
        pyramid = [x]
        for y, lateral, output in zip(finer[::-1], self.laterals[::-1], self.outputs[::-1], strict=True):
            x = lateral(y) + resize(x, y.shape[-2:])
            pyramid.append(output(x))
        finest = pyramid[-1]
        joined = torch.cat([finest, *(resize(level, finest.shape[-2:]) for level in pyramid[-2::-1])], dim=1)
        return self.classify(self.joint(joined))


def _convolution(channels: int, width: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, side, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
