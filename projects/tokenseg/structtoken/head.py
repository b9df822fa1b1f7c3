"""StructToken's head: learnable structure tokens, one per class, are refined into the masks.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III and Fig. 2.
CSE, SSE and PWE differ only in their blocks, which are passed to the head.
"""

from collections.abc import Iterable

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Counts, Targets, given
from ..d2_compat import refuse_yacs
from ..layers.feature_maps import select_maps
from ..layers.memory_order import channels_last, class_softmax
from ..layers.point_conv import PointConv2d, zero_bias
from ..layers.resize import always_fits
from ..layers.single_precision import at_least_single
from ..losses.pixel import count_pixels, pixel_cross_entropy


@SEM_SEG_HEADS_REGISTRY.register()
class StructTokenHead(nn.Module):
    """A 1x1 projection, blocks in which the tokens extract structure from the features, and a final refinement."""

    gives_probabilities = False

    @refuse_yacs
    def __init__(
        self,
        *,
        in_feature: str,
        channels: int,
        num_classes: int,
        img_size: int,
        stride: int,
        blocks: Iterable[nn.Module],
        refine: nn.Module,
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            in_feature: The name of the backbone's feature map to decode.
            channels: The number of channels C of that map.
            num_classes: The number of classes K, each of which has one structure token.
            img_size: The side in pixels of the square training crop, which determines the size of the tokens.
            stride: The stride of that map in pixels; the tokens are img_size / stride high and wide.
            blocks: The blocks, which take tokens (N, K, H, W) and features (N, C, H, W) and return both, updated.
            refine: The module from tokens to logits, both (N, K, H, W): `ConvBlock`, or `torch.nn.Identity` for none.
            ignore_value: The label of the pixels to ignore.

        Raises:
            ValueError: `stride` does not divide `img_size`.
        """
        super().__init__()
        if img_size % stride:
            raise ValueError(f"img_size is {img_size}; wanted a multiple of the stride, {stride}")
        side = img_size // stride
        self.in_feature, self.num_classes, self.ignore_value = in_feature, num_classes, ignore_value
        self.project = PointConv2d(channels, channels)
        self.tokens = nn.Parameter(torch.empty(1, num_classes, side, side))
        self.blocks = nn.ModuleList(blocks)
        self.refine = refine
        nn.init.trunc_normal_(self.tokens, std=0.02)
        self.apply(_init_weights)

    def forward(
        self, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: The maps of the backbone; `in_feature` is (N, C, H, W).
            targets: The targets in training, with labels (N, h, w) of any size.

        Returns:
            In training None and the loss `loss_sem_seg`; in inference logits (N, K, H, W) and no losses.
        """
        logits = self.decode(*select_maps(features, [self.in_feature]))[-1]
        if not self.training:
            return logits, {}
        return None, {"loss_sem_seg": pixel_cross_entropy(logits, given(targets), ignore_value=self.ignore_value)}

    def count(self, targets: Targets) -> Counts:
        """Count the valid pixels."""
        return count_pixels(targets, ignore_value=self.ignore_value)

    def token_part(self) -> nn.Module:
        """Return the last block, whose tokens are maps."""
        return self.blocks[-1]

    def token_maps(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tokens (N, K, H, W) of every stage by the stage's title, as in Fig. 4.

        Args:
            features: The maps of the backbone.
        """
        first, *updated, logits = self.decode(*select_maps(features, [self.in_feature]))
        blocks = {f"block {place}": tokens for place, tokens in enumerate(updated, 1)}
        return {"tokens": first, **blocks, "logits": logits}

    def class_masks(self, features: dict[str, Tensor]) -> Tensor:
        """Return the region of each class's token, (N, K, H, W): the softmax of the logits, since the loss lets the
        tokens compete for each cell.

        Args:
            features: The maps of the backbone.
        """
        return class_softmax(at_least_single(self.decode(*select_maps(features, [self.in_feature]))[-1]))

    def decode(self, feature_map: Tensor) -> list[Tensor]:
        """Compute all states of the tokens.

        Args:
            feature_map: The feature map (N, C, H, W).

        Returns:
            The tokens before the blocks, after each block, and the logits: (N, K, H, W) each.
        """
        # The norms run over channels, which are contiguous in this memory order. The tokens need the same order, since
        # a concatenation takes over the order of its parts.
        features = self.project(channels_last(feature_map))
        tokens = channels_last(self._tokens_at(features.shape[-2:]).expand(features.shape[0], -1, -1, -1))
        states = [tokens]
        for block in self.blocks:
            tokens, features = block(tokens, features)
            states.append(tokens)
        return [*states, self.refine(tokens)]

    def _tokens_at(self, size: torch.Size) -> Tensor:
        """Return the tokens (1, K, *size), resampled if the map has another size."""
        if always_fits(self.tokens, size):
            return self.tokens
        odd = any(side % 2 for side in self.tokens.shape[-2:])  # the rule of the released code
        return F.interpolate(self.tokens, size=tuple(size), mode="bicubic", align_corners=odd)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        zero_bias(module)
