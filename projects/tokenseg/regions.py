"""The regions of a model's tokens: which part of it has them, and what each image of a batch has of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from .contracts import HasClassMasks, HasRegions

# From the maps of a backbone, and what lies beside them, to weights (N, Q, H, W).
RegionWeights = Callable[[Mapping[str, Tensor]], Tensor]


class Regions(NamedTuple):
    """The regions of an image's tokens."""

    weights: Tensor  # (Q, H, W), 0 or more, without the batch's padding
    cell: tuple[float, float]  # height and width of a cell in pixels


def region_weights_of(backbone: nn.Module, head: nn.Module) -> RegionWeights:
    """Find what gives the regions of a model's tokens: the backbone, else the head, else the head's masks of classes.

    Args:
        backbone: The backbone of the model.
        head: The head of the model.

    Raises:
        ValueError: No part has any.
    """
    for part in (backbone, head):
        if isinstance(part, HasRegions):
            return part.region_weights
    if isinstance(head, HasClassMasks):
        return head.class_masks
    raise ValueError(
        f"neither {type(backbone).__name__} nor {type(head).__name__} has region_weights; wanted a part whose tokens "
        "have regions"
    )


def regions_of_images(
    weights: Tensor, batch_size: tuple[int, int], image_sizes: Sequence[tuple[int, int]]
) -> list[Regions]:
    """Cut the regions of a padded batch to those of its images.

    Args:
        weights: (N, Q, H, W) of the batch.
        batch_size: (height, width) of the batch in pixels.
        image_sizes: (height, width) of each image in it.
    """
    cell = batch_size[0] / weights.shape[-2], batch_size[1] / weights.shape[-1]
    found = []
    for own, size in zip(weights, image_sizes, strict=True):
        height, width = (math.ceil(side / step) for side, step in zip(size, cell, strict=True))
        found.append(Regions(own[:, :height, :width], cell))
    return found
