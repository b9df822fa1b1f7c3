"""What a model sees: the stages by which a segmentor's class maps come about, and the regions of tokens."""

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
    """What the head has of some classes, stage by stage, for pictures; the image is not cut into views.

    Args:
        model: The segmentor.
        image: (3, h, w) in grey levels.
        classes: Ids.

    Returns:
        Title of the stage -> (classes, h, w), in the order of the stages.

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
    """Where the tokens of a model look; the image is not cut into views.

    Args:
        model: The segmentor.
        image: (3, h, w) in grey levels.

    Raises:
        ValueError: Neither backbone nor head has regions.
    """
    find = region_weights_of(model.backbone, model.sem_seg_head)
    prediction = model.predict(model.normalised([{"image": image}]))
    return regions_of_images(find(prediction.features), prediction.batch_size, prediction.image_sizes)[0]


@torch.no_grad()
def detector_regions(model: GeneralizedRCNN, image: Tensor) -> Regions:
    """Where the tokens in a detector's backbone look, at any depth of it, such as below a pyramid.

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
    # what stands around the source may pass on its maps alone
    handle = source.register_forward_hook(lambda _module, _inputs, features: seen.update(features))
    try:
        model.backbone(batch)
    finally:
        handle.remove()
    return regions_of_images(source.region_weights(seen), (batch.shape[-2], batch.shape[-1]), sizes)[0]


def tokens_on(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How much of each token's region lies on a mask.

    Args:
        weights: The weights of the regions, (Q, h, w), 0 or more.
        mask: The pixels of the mask, (H, W) bool, of any size.

    Returns:
        Shares from 0 to 1, (Q,).
    """
    height, width = weights.shape[-2:]
    # numbers: masks of Pillow's would be sampled and not averaged
    small = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX))
    return (weights * small).sum(axis=(1, 2)) / np.maximum(weights.sum(axis=(1, 2)), 1e-9)


class RegionSegmentor(Segmentor):
    """A segmentor that returns the regions of its tokens too without being asked, for `TokenMetrics`."""

    def forward(self, batched_inputs: list[dict], counts: Any = None) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Inputs and outputs as in `Segmentor`; in inference also what `with_regions` gives.

        Raises:
            ValueError: Neither backbone nor head has regions.
        """
        return super().forward(batched_inputs, counts) if self.training else self.with_regions(batched_inputs)

    def ids(self, batched_inputs: list[dict], also: Collection[str] = ()) -> list[dict[str, Tensor]]:
        """As in `Segmentor`, and the regions."""
        return super().ids(batched_inputs, {*also, "regions"})
