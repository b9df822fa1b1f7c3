"""What a model sees: the stages by which a segmentor's class maps come about, and the regions of tokens."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN
from PIL import Image
from torch import Tensor

from .contracts import HasRegions, ShowsStages
from .d2_compat import pad_to_batch
from .layers.resize import resize
from .layers.single_precision import at_least_single
from .segmentor import Prediction, Segmentor, image_scores, most_likely, output_sizes


class Regions(NamedTuple):
    """The regions of an image's tokens."""

    weights: Tensor  # (Q, H, W), 0 or more, without the batch's padding
    cell: tuple[float, float]  # height and width of a cell in pixels


@torch.no_grad()
def stage_maps(model: Segmentor, image: Tensor, classes: Sequence[int]) -> dict[str, Tensor]:
    """What the head has of some classes, stage by stage, for pictures; the image is not cut into views.

    Args:
        model: the segmentor.
        image: (3, h, w) in grey levels.
        classes: ids.

    Returns:
        Title of the stage -> (classes, h, w), in the order of the stages.

    Raises:
        ValueError: the head has no stages to show.
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
        model: the segmentor.
        image: (3, h, w) in grey levels.

    Raises:
        ValueError: neither backbone nor head has regions.
    """
    source = region_source(model)
    return predicted_regions(source, model.predict(model.normalised([{"image": image}])))[0]


def region_source(model: Segmentor) -> HasRegions:
    """The part of a model whose tokens have regions, the backbone before the head.

    Raises:
        ValueError: there is none.
    """
    for part in (model.backbone, model.sem_seg_head):
        if isinstance(part, HasRegions):
            return part
    raise ValueError(
        f"neither {type(model.backbone).__name__} nor {type(model.sem_seg_head).__name__} has region_weights; "
        "wanted a part whose tokens have regions"
    )


@torch.no_grad()
def detector_regions(model: GeneralizedRCNN, image: Tensor) -> Regions:
    """Where the tokens in a detector's backbone look, at any depth of it, such as below a pyramid.

    Args:
        model: The detector in evaluation mode.
        image: The image (3, h, w) in grey levels.

    Raises:
        ValueError: No part of the backbone has regions.
    """
    source = next((part for part in model.backbone.modules() if isinstance(part, HasRegions)), None)
    if source is None:
        raise ValueError(
            f"no part of the backbone ({type(model.backbone).__name__}) has region_weights; wanted a part whose tokens "
            "have regions"
        )
    batch, sizes = pad_to_batch([(image.to(model.device) - model.pixel_mean) / model.pixel_std], model.backbone)
    seen = {}
    # what stands around the source may pass on its maps alone
    handle = source.register_forward_hook(lambda _module, _inputs, features: seen.update(features))
    try:
        model.backbone(batch)
    finally:
        handle.remove()
    return _image_regions(source.region_weights(seen), tuple(batch.shape[-2:]), sizes)[0]


def predicted_regions(source: HasRegions, prediction: Prediction) -> list[Regions]:
    """The regions of each image of a batch."""
    return _image_regions(source.region_weights(prediction.features), prediction.batch_size, prediction.image_sizes)


def _image_regions(
    weights: Tensor, batch_size: tuple[int, int], image_sizes: Sequence[tuple[int, int]]
) -> list[Regions]:
    """The regions of each image in (N, Q, H, W) weights of a padded batch, without the padding."""
    cell = tuple(whole / side for whole, side in zip(batch_size, weights.shape[-2:], strict=True))
    found = []
    for own, size in zip(weights, image_sizes, strict=True):
        height, width = (math.ceil(side / step) for side, step in zip(size, cell, strict=True))
        found.append(Regions(own[:, :height, :width], cell))
    return found


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
    """A segmentor that returns the regions of its tokens too, for `TokenMetrics`.

    Where the policy runs the images as they are, scores and regions come from one run; else the whole image runs once
    more for its regions.
    """

    def forward(self, batched_inputs: list[dict], counts: object = None) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Inputs and outputs as in `Segmentor`; in inference also `regions` (Q, h, w) of the whole image, whatever the
        policy, and `region_cell`, (height, width) of one of their cells in pixels of the output.

        Raises:
            ValueError: neither backbone nor head has regions.
        """
        if self.training:
            return super().forward(batched_inputs, counts)
        source, watched = region_source(self), _Watched(self)
        images, sizes = self.normalised(batched_inputs), output_sizes(batched_inputs)
        outputs = [{"sem_seg": scores} for scores in self.infer(watched, batched_inputs, images)]
        prediction = watched.prediction if watched.images is images else self.predict(images)
        for output, image, size, found in zip(
            outputs, images, sizes, predicted_regions(source, prediction), strict=True
        ):
            scales = (wanted / side for wanted, side in zip(size, image.shape[-2:], strict=True))
            output["regions"] = found.weights
            output["region_cell"] = tuple(step * scale for step, scale in zip(found.cell, scales, strict=True))
        return outputs

    def ids(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """As in `Segmentor`, and the regions."""
        return [output | {"class_ids": most_likely(output.pop("sem_seg"))} for output in self(batched_inputs)]


class _Watched:
    """A segmentor to a policy, which remembers the last images and what they gave."""

    def __init__(self, model: Segmentor) -> None:
        self.model, self.images, self.prediction = model, None, None

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        self.images, self.prediction = images, self.model.predict(images)
        return image_scores(self.prediction)

    def to_probabilities(self, scores: Tensor) -> Tensor:
        return self.model.to_probabilities(scores)
