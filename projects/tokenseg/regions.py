"""The regions of a model's tokens: which part of the model has them, and how they are cut to the images of a batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from .contracts import HasClassMasks, HasRegions

# A function from the maps and further outputs of a backbone to the weights (N, Q, H, W) of the regions.
RegionWeights = Callable[[Mapping[str, Tensor]], Tensor]


class Regions(NamedTuple):
    """The regions of an image's tokens."""

    weights: Tensor  # (Q, H, W), 0 or more, without the batch's padding
    cell: tuple[float, float]  # height and width of a cell in pixels


def region_weights_of(backbone: nn.Module, head: nn.Module) -> RegionWeights:
    """Find the function that gives the regions of a model's tokens.

    The backbone comes first, then the head, and last the head's masks of classes.

    Args:
        backbone: The backbone of the model.
        head: The head of the model.

    Raises:
        ValueError: None of them has regions.
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
    """Cut the regions of a padded batch to the images in it.

    Args:
        weights: The weights (N, Q, H, W) of the regions of the batch.
        batch_size: The (height, width) of the batch in pixels.
        image_sizes: The (height, width) of each image in it.
    """
    cell = batch_size[0] / weights.shape[-2], batch_size[1] / weights.shape[-1]
    found = []
    for own, size in zip(weights, image_sizes, strict=True):
        height, width = (math.ceil(side / step) for side, step in zip(size, cell, strict=True))
        found.append(Regions(own[:, :height, :width], cell))
    return found
