"""A segmentor as a function of tensors alone: the whole image in one pass."""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from ..segmentor import Segmentor, most_likely

OutputKind = Literal["ids", "scores"]


class WholePass(nn.Module):
    """Normalises images, pads them, and runs backbone and head: what a segmentor does with a whole image.

    Sliding windows, scales and flips are loops around such a pass and not part of it.

    Attributes:
        divisor: What the sides of the padded images are multiples of, in pixels.
    """

    def __init__(self, segmentor: Segmentor, *, output_kind: OutputKind = "ids") -> None:
        """
        Args:
            segmentor: The model; its weights are shared.
            output_kind: Whether a pass gives the class of each pixel, `ids`, or the scores of all classes, `scores`.

        Raises:
            ValueError: The model is no segmentor, its backbone wants square images, or there is no such kind.
        """
        super().__init__()
        if not isinstance(segmentor, Segmentor):
            raise ValueError(
                f"{type(segmentor).__name__} is no Segmentor, and only those are exported here; wanted a config of "
                "semantic segmentation (for detectors Detectron2 has exporters of its own)"
            )
        if output_kind not in get_args(OutputKind):
            raise ValueError(f"output_kind is '{output_kind}'; wanted one of {', '.join(get_args(OutputKind))}")
        if getattr(segmentor.backbone, "padding_constraints", {}).get("square_size"):
            raise ValueError(f"{type(segmentor.backbone).__name__} pads images to squares, which is not exported")
        self.segmentor, self.output_kind = segmentor, output_kind
        self.divisor = max(segmentor.backbone.size_divisibility, 1)

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return self.segmentor.pixel_mean.shape[0]

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (N, C, h, w) in grey levels, in the order of channels of the config.

        Returns:
            Class ids (N, h, w) int64, or scores (N, K, h, w), as `output_kind` says. The scores are the head's: logits
            or probabilities.
        """
        scores = self.scores(images)
        return scores if self.output_kind == "scores" else most_likely(scores)

    def scores(self, images: Tensor) -> Tensor:
        """The scores (N, K, h, w) of images, as in `forward`."""
        height, width = images.shape[-2:]
        below, beside = (_rounded_up(side, self.divisor) - side for side in (height, width))
        padded = F.pad(self.segmentor.normalise(images), (0, beside, 0, below))
        scores, _ = self.segmentor.sem_seg_head(self.segmentor.backbone(padded), None)
        return resize(at_least_single(scores), padded.shape[-2:])[..., :height, :width]


def _rounded_up(side: int, divisor: int) -> int:
    """The next multiple, in a form of which an exporter knows that the divisor divides it."""
    return (side + divisor - 1) // divisor * divisor
