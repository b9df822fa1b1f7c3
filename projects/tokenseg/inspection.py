"""Shows what a model sees: the class maps of a segmentor stage by stage, and the regions of tokens."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN
from PIL import Image
from torch import Tensor

from .contracts import HasRegions, ShowsStages
from .d2_compat import pad_to_batch
from .layers.resize import resize
from .layers.single_precision import at_least_single
from .regions import Regions, region_weights_of, regions_of_images
from .segmentor import Segmentor


@torch.no_grad()
def stage_maps(model: Segmentor, image: Tensor, classes: Sequence[int]) -> dict[str, Tensor]:
    """Compute the maps of some classes at each stage of the head. The image is not cut into windows.

    Args:
        model: The segmentor.
        image: The image (3, h, w) in grey levels.
        classes: The ids of the classes.

    Returns:
        Title of the stage -> the maps (classes, h, w), in the order of the stages.

    Raises:
        ValueError: The head has no stages to show.
    """
    head = model.sem_seg_head
    if not isinstance(head, ShowsStages):
        raise ValueError(f"{type(head).__name__} has no token_maps; wanted a head that shows its stages")
    batch, [(height, width)] = pad_to_batch(model.normalised([{"image": image}]), model.backbone)
    stages = head.token_maps(model.backbone(batch))
    chosen = {title: at_least_single(maps[:, list(classes)]) for title, maps in stages.items()}
    return {title: resize(maps, batch.shape[-2:])[0, :, :height, :width] for title, maps in chosen.items()}


@torch.no_grad()
def image_regions(model: Segmentor, image: Tensor) -> Regions:
    """Compute the regions of a segmentor's tokens in an image, which is not cut into windows.

    Args:
        model: The segmentor.
        image: The image (3, h, w) in grey levels.

    Raises:
        ValueError: Neither the backbone nor the head has regions.
    """
    find = region_weights_of(model.backbone, model.sem_seg_head)
    prediction = model.predict(model.normalised([{"image": image}]))
    return regions_of_images(find(prediction.features), prediction.batch_size, prediction.image_sizes)[0]


@torch.no_grad()
def detector_regions(model: GeneralizedRCNN, image: Tensor) -> Regions:
    """Compute the regions of the tokens in a detector's backbone. They may be at any depth, such as inside an FPN.

    Args:
        model: The detector in evaluation mode.
        image: The image (3, h, w) in grey levels.

    Raises:
        ValueError: No part of the backbone has regions.
    """
    source: Any = next((part for part in model.backbone.modules() if isinstance(part, HasRegions)), None)
    if source is None:
        raise ValueError(
            f"no part of the backbone ({type(model.backbone).__name__}) has region_weights; wanted a part whose tokens "
            "have regions"
        )
    batch, sizes = pad_to_batch([(image.to(model.device) - model.pixel_mean) / model.pixel_std], model.backbone)
    seen: dict[str, Tensor] = {}
    # A hook is needed since the modules around the source may pass on only its maps, without its tokens.
    handle = source.register_forward_hook(lambda _module, _inputs, features: seen.update(features))
    try:
        model.backbone(batch)
    finally:
        handle.remove()
    return regions_of_images(source.region_weights(seen), (batch.shape[-2], batch.shape[-1]), sizes)[0]


def tokens_on(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compute the share of each token's region that is on a mask.

    Args:
        weights: The weights of the regions, (Q, h, w), 0 or more.
        mask: The mask (H, W) bool, of any size.

    Returns:
        The shares (Q,) from 0 to 1.
    """
    height, width = weights.shape[-2:]
    # The mask is converted to numbers, since Pillow would sample a boolean image instead of averaging it.
    small = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX))
    return (weights * small).sum(axis=(1, 2)) / np.maximum(weights.sum(axis=(1, 2)), 1e-9)


class RegionSegmentor(Segmentor):
    """A segmentor that always returns the regions of its tokens too, for `TokenMetrics`."""

    def forward(self, batched_inputs: list[dict], counts: Any = None) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Inputs and outputs as in `Segmentor`; in inference also the regions from `with_regions`.

        Raises:
            ValueError: Neither the backbone nor the head has regions.
        """
        return super().forward(batched_inputs, counts) if self.training else self.with_regions(batched_inputs)

    def ids(self, batched_inputs: list[dict], also: Collection[str] = ()) -> list[dict[str, Tensor]]:
        """As in `Segmentor`, but always with the regions."""
        return super().ids(batched_inputs, {*also, "regions"})
