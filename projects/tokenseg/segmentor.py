"""The segmentor all methods share: normalise, pad, run backbone and head, then lose or infer.

Inputs and outputs are those of Detectron2's SemanticSegmentor, which it equals on whole images.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn
from torch.nn import functional as F

from .d2_compat import pad_to_batch
from .inference.policy import Policy, WholeImage


class Segmentor(nn.Module):
    """Backbone, head and inference policy.

    The head is called as `head(features, targets)`: in training it returns `(None, losses)` with a dict of scalar
    losses, else `(scores, {})` with scores (N, K, h, w) at any stride. It says in `ignore_value` which label counts
    nowhere, and in `gives_probabilities` whether its scores are probabilities or logits (default: logits).
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        inference: Policy | None = None,
        extra_losses: Mapping[str, nn.Module | None] | None = None,
        region_outputs: bool = False,
    ) -> None:
        """
        Args:
            backbone: Detectron2 backbone; its `size_divisibility` says what inputs are padded to.
            sem_seg_head: as above; Detectron2's own heads fit too.
            pixel_mean: subtracted from the image, per channel, in grey levels of 0..255.
            pixel_std: divides the image after that.
            inference: how images are cut into views; the whole image by default.
            extra_losses: further losses of the training, by a name of each; None leaves one out. Each is called as
                `loss(features, targets, batched_inputs)` and returns a dict of scalar losses: auxiliary heads, or
                losses of what the backbone returns beside its maps.
            region_outputs: whether inference returns the regions of tokens too, see `regions`.
        """
        super().__init__()
        if len(pixel_mean) != len(pixel_std):
            raise ValueError(
                f"pixel_mean has {len(pixel_mean)} channels and pixel_std {len(pixel_std)}; wanted the same number"
            )
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.inference = inference if inference is not None else WholeImage()
        self.extra_losses = nn.ModuleDict({k: loss for k, loss in (extra_losses or {}).items() if loss is not None})
        self.region_outputs = region_outputs
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """
        Args:
            batched_inputs: a dict an image with `image` (3, h, w) in grey levels; in training `sem_seg` (h, w);
                in inference optionally `height` and `width` of the output (default: the image's).

        Returns:
            In training the head's losses, in inference a dict an image with `sem_seg` (K, height, width): the
            head's scores, or probabilities where the policy averages several scales or flips. With `region_outputs`
            also `regions` (K, h, w) of the whole image, whatever the policy, and `region_cell`, (height, width) of one
            of their cells in pixels of the output.

        Raises:
            ValueError: training without labels, or two losses of one name.
        """
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        if self.training:
            return self._losses(images, batched_inputs)
        sizes = [
            (int(x.get("height", image.shape[-2])), int(x.get("width", image.shape[-1])))
            for x, image in zip(batched_inputs, images, strict=True)
        ]
        outputs = [{"sem_seg": scores} for scores in self.inference(self, images, sizes)]
        if self.region_outputs:
            for output, image, size in zip(outputs, images, sizes, strict=True):
                output["regions"], cell = self._regions(image)
                output["region_cell"] = tuple(c * n / s for c, n, s in zip(cell, size, image.shape[-2:], strict=True))
        return outputs

    def _losses(self, images: list[Tensor], batched_inputs: list[dict]) -> dict[str, Tensor]:
        missing = [x.get("file_name", "an image") for x in batched_inputs if "sem_seg" not in x]
        if missing:
            raise ValueError(f"training wants a label map (key sem_seg) for every image; there is none for {missing}")
        labels = [x["sem_seg"].to(self.device) for x in batched_inputs]
        targets, _ = pad_to_batch(labels, self.backbone, self.sem_seg_head.ignore_value)
        batch, _ = pad_to_batch(images, self.backbone)
        features = self.backbone(batch)
        _, losses = self.sem_seg_head(features, targets)
        for name, extra in self.extra_losses.items():
            further = extra(features, targets, batched_inputs)
            if losses.keys() & further.keys():
                twice = ", ".join(sorted(losses.keys() & further.keys()))
                raise ValueError(
                    f"extra_losses.{name} gives {twice}, which is there already; wanted a prefix of its own"
                )
            losses = losses | further
        return losses

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        """Scores of normalised images, run as one batch.

        Args:
            images: (3, h, w) each, padded here to one size.

        Returns:
            (K, h, w) each.
        """
        batch, image_sizes = pad_to_batch(images, self.backbone)
        scores, _ = self.sem_seg_head(self.backbone(batch), None)
        scores = _resize(scores, batch.shape[-2:])
        return [score[:, :height, :width] for score, (height, width) in zip(scores, image_sizes, strict=True)]

    @torch.no_grad()
    def token_maps(self, image: Tensor, classes: Sequence[int]) -> dict[str, Tensor]:
        """What the head has of some classes, stage by stage, for pictures; the image is not cut into views.

        Args:
            image: (3, h, w) in grey levels.
            classes: ids.

        Returns:
            Title of the stage -> (classes, h, w), in the order of the stages.

        Raises:
            ValueError: a head that has no stages to show.
        """
        if not hasattr(self.sem_seg_head, "token_maps"):
            raise ValueError(
                f"{type(self.sem_seg_head).__name__} has no token_maps; wanted a head that shows its stages"
            )
        pixels = (image.to(self.device) - self.pixel_mean) / self.pixel_std
        batch, [(height, width)] = pad_to_batch([pixels], self.backbone)
        stages = self.sem_seg_head.token_maps(self.backbone(batch))
        chosen = {title: maps[:, list(classes)].float() for title, maps in stages.items()}
        return {title: _resize(maps, batch.shape[-2:])[0, :, :height, :width] for title, maps in chosen.items()}

    @torch.no_grad()
    def regions(self, image: Tensor) -> Tensor:
        """Where the tokens of a model look, for pictures; the image is not cut into views.

        Args:
            image: (3, h, w) in grey levels.

        Returns:
            (K, H, W) weights of 0 or more, on the map of the tokens.

        Raises:
            ValueError: neither backbone nor head has regions.
        """
        return self._regions((image.to(self.device) - self.pixel_mean) / self.pixel_std)[0]

    def _regions(self, image: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """Regions (K, H, W) of a normalised image, without its padding, and (height, width) of a cell in pixels."""
        sources = [part for part in (self.backbone, self.sem_seg_head) if hasattr(part, "region_weights")]
        if not sources:
            raise ValueError(
                f"neither {type(self.backbone).__name__} nor {type(self.sem_seg_head).__name__} has region_weights; "
                "wanted a part whose tokens have regions"
            )
        batch, [size] = pad_to_batch([image], self.backbone)
        maps = sources[0].region_weights(self.backbone(batch))[0]
        cell = tuple(whole / side for whole, side in zip(batch.shape[-2:], maps.shape[-2:], strict=True))
        height, width = (math.ceil(side / step) for side, step in zip(size, cell, strict=True))
        return maps[:, :height, :width], cell

    def to_probabilities(self, scores: Tensor) -> Tensor:
        """(N, K, h, w) scores of the head as probabilities over the K classes."""
        return scores if getattr(self.sem_seg_head, "gives_probabilities", False) else scores.float().softmax(dim=1)


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, K, h, w) to (N, K, *size), bilinearly."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
