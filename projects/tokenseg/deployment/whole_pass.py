"""A segmentor as a pure tensor function that processes the whole image in one pass."""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from ..segmentor import Segmentor, most_likely

OutputKind = Literal["ids", "scores"]


class WholePass(nn.Module):
    """Normalises and pads images and runs backbone and head, as a segmentor does with a whole image.

    Sliding windows, several scales and flips are loops around such a pass, and not part of it.

    Attributes:
        divisor: The number of pixels to whose multiples both sides of an image are padded.
    """

    def __init__(self, segmentor: Segmentor, *, output_kind: OutputKind = "ids") -> None:
        """
        Args:
            segmentor: The model, whose weights are used and not copied.
            output_kind: The output: `ids` for the class of each pixel, or `scores` for the scores of all classes.

        Raises:
            ValueError: The model is not a segmentor, its backbone needs square images, or the output kind is unknown.
        """
        super().__init__()
        if not isinstance(segmentor, Segmentor):
            raise ValueError(
                f"{type(segmentor).__name__} is not a Segmentor, and no other model can be exported here; wanted a "
                "config of semantic segmentation (Detectron2 has its own exporters for detectors)"
            )
        if output_kind not in get_args(OutputKind):
            raise ValueError(f"output_kind is '{output_kind}'; wanted one of {', '.join(get_args(OutputKind))}")
        if getattr(segmentor.backbone, "padding_constraints", {}).get("square_size"):
            raise ValueError(f"{type(segmentor.backbone).__name__} pads images to squares, which cannot be exported")
        self.segmentor, self.output_kind = segmentor, output_kind
        self.divisor = max(segmentor.backbone.size_divisibility, 1)

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return self.segmentor.pixel_mean.shape[0]

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: The images (N, C, h, w) in grey levels, with channels in the order of the config.

        Returns:
            Class ids (N, h, w) int64, or scores (N, K, h, w), depending on `output_kind`. The scores are logits or
            probabilities, depending on the head.
        """
        scores = self.scores(images)
        return scores if self.output_kind == "scores" else most_likely(scores)

    def scores(self, images: Tensor) -> Tensor:
        """Compute the scores (N, K, h, w) of images, as in `forward`."""
        height, width = images.shape[-2:]
        below, beside = (_rounded_up(side, self.divisor) - side for side in (height, width))
        padded = F.pad(self.segmentor.normalise(images), (0, beside, 0, below))
        scores, _ = self.segmentor.sem_seg_head(self.segmentor.backbone(padded), None)
        return resize(at_least_single(scores), padded.shape[-2:])[..., :height, :width]


def _rounded_up(side: int, divisor: int) -> int:
    """Round up to a multiple of the divisor, in a form that lets the exporter prove divisibility."""
    return (side + divisor - 1) // divisor * divisor
