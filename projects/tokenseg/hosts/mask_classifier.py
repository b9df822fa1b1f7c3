"""The common head of MaskFormer and Mask2Former, whose queries predict a class and a mask each.

Paper: Cheng et al.: Per-Pixel Classification is Not All You Need for Semantic Segmentation, "MaskFormer" (NeurIPS
2021). Letters: N images, Q queries, K classes, H x W the size of the input.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from ..contracts import Counts, Targets, given
from ..layers.embedded_masks import EmbeddedMasks
from ..layers.feature_maps import select_maps
from ..layers.mask_scores import class_scores
from ..layers.single_precision import at_least_single

# The name under which the masks of all queries are returned besides the scores.
QUERY_MASKS = "query_masks"


class MaskCriterion(Protocol):
    """The loss of a mask classifier.

    Attributes:
        ignore_value: The label of the pixels to ignore.
    """

    ignore_value: int

    def count(self, targets: Targets) -> Counts:
        """Compute the counts by which the losses are divided, from the labels."""

    def __call__(self, predictions: list[EmbeddedMasks], targets: Targets) -> dict[str, Tensor]:
        """Compute scalar losses by name from the predictions of all stages."""


class MaskClassifierHead(nn.Module):
    """A pixel decoder, a decoder of queries, and a loss on the predictions of all its stages."""

    gives_probabilities = True

    def __init__(
        self,
        *,
        in_features: Sequence[str],
        pixel_decoder: nn.Module,
        query_decoder: nn.Module,
        criterion: MaskCriterion,
        stride: int,
        score_stride: int,
    ) -> None:
        """
        Args:
            in_features: The names of the backbone's maps, from the finest to the coarsest.
            pixel_decoder: The module that turns the list of maps into the mask features and a list of maps for queries.
            query_decoder: The module that turns the maps for the queries and the mask features into the predictions of
                all stages.
            criterion: The loss.
            stride: The stride of the finest map, in pixels.
            score_stride: The stride of the scores, in pixels; 1 in the papers. Larger strides need less memory and give
                slightly different results.

        Raises:
            ValueError: `score_stride` is less than 1.
        """
        super().__init__()
        if score_stride < 1:
            raise ValueError(f"score_stride is {score_stride}; wanted 1 or more")
        self.in_features, self.stride, self.score_stride = list(in_features), stride, score_stride
        self.pixel_decoder, self.query_decoder, self.criterion = pixel_decoder, query_decoder, criterion
        self.ignore_value = criterion.ignore_value

    def count(self, targets: Targets) -> Counts:
        """Compute the criterion's counts from the labels."""
        return self.criterion.count(targets)

    def forward(
        self, features: Mapping[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: The maps of the backbone, (N, C_i, H_i, W_i) each.
            targets: The targets of the criterion; needed only in training.

        Returns:
            In training None and the criterion's losses; in inference the last stage's scores (N, K, H, W), at the size
            of the input divided by `score_stride`, and in addition the masks of all queries before the sigmoid (N, Q,
            H_1, W_1), which `region_weights` uses.

        Raises:
            ValueError: A map of `in_features` is missing.
        """
        if self.training:
            return None, self.criterion(self.decode(features), given(targets))
        masks, class_logits, size = self.mask_sum(features)
        return class_scores(masks, class_logits, size=size), {QUERY_MASKS: masks}

    def mask_sum(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return the last stage's masks and class logits, from which scores are computed, and the size of the scores.

        Args:
            features: The maps of the backbone.
        """
        last = self.decode(features)[-1]
        masks = last.masks
        height, width = ((side * self.stride + self.score_stride - 1) // self.score_stride for side in masks.shape[-2:])
        return masks, last.class_logits, (height, width)

    def decode(self, features: Mapping[str, Tensor]) -> list[EmbeddedMasks]:
        """Compute the predictions of all stages, whose masks are computed on demand.

        Args:
            features: The maps of the backbone.
        """
        mask_features, maps = self.pixel_decoder(select_maps(features, self.in_features))
        return self.query_decoder(maps, mask_features)

    def token_part(self) -> nn.Module:
        """Return the last layer of the query decoder."""
        return list(self.query_decoder.get_submodule("layers").children())[-1]

    def token_maps(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the class scores of every stage as maps (N, K, H_1, W_1) by title, for pictures.

        Args:
            features: The maps of the backbone.
        """
        return {
            f"scores {place}": class_scores(each.masks, each.class_logits, size=each.features.shape[-2:])
            for place, each in enumerate(self.decode(features), 1)
        }

    def region_weights(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the regions of the queries: their masks after the last stage.

        Args:
            features: The maps of the backbone and, if the head has already run, its further outputs, which saves
                computing the masks again.

        Returns:
            The weights (N, Q, H_1, W_1), from 0 to 1.
        """
        masks = features[QUERY_MASKS] if QUERY_MASKS in features else self.decode(features)[-1].masks
        return at_least_single(masks).sigmoid()


def check_stages(in_features: Sequence[str], channels: Sequence[int], *, least: int) -> None:
    """Raise a ValueError unless there are enough maps and a number of channels for each.

    Args:
        in_features: The names of the maps.
        channels: The number of channels of each map.
        least: The least number of maps.
    """
    if len(in_features) < least or len(in_features) != len(channels):
        raise ValueError(
            f"in_features are {list(in_features)}, channels {list(channels)}; wanted {least} or more, as many of both"
        )
