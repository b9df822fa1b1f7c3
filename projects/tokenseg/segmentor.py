"""The segmentor that all methods share: normalise, pad, run backbone and head, then compute the losses or predict.

Inputs and outputs are those of Detectron2's SemanticSegmentor; on whole images the results are identical.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from detectron2.modeling import Backbone
from detectron2.utils.logger import log_first_n
from torch import Tensor, nn

from .contracts import Counts, ExtraLoss, Head, Rescales, SumsMasks, Targets
from .d2_compat import pad_to_batch, refuse_yacs
from .inference.class_walk import ids_by_classes
from .inference.coarse_views import MaskView, ScoreView, View
from .inference.policy import AveragesViews, Model, OverScales, Policy, WholeImage, resized
from .layers.mask_scores import class_probabilities
from .layers.memory_order import channels_last, class_softmax
from .layers.resize import resize
from .layers.single_precision import at_least_single
from .losses.counts import mean_over_processes
from .regions import region_weights_of, regions_of_images

# The further outputs that `Segmentor.ids` offers, and the number of pixel rows whose probabilities are held in memory.
_ALSO, _ROWS = ("confidence", "regions"), 32


class Prediction(NamedTuple):
    """The outputs of backbone and head for a batch of images."""

    scores: Tensor  # (N, K, h, w) from the head, at any stride
    features: dict[str, Tensor]  # the backbone's feature maps, and further outputs of backbone and head
    batch_size: tuple[int, int]  # (H, W) of the padded batch
    image_sizes: list[tuple[int, int]]  # (height, width) of each image in it


class Segmentor(nn.Module):
    """A backbone, a head and an inference policy.

    The head implements the protocol `Head`. Detectron2's own heads, which take label maps and average their losses over
    their own batch, are supported too.
    """

    # The classes that a method's meta-architecture requires of its parts, by argument.
    wanted_parts: ClassVar[Mapping[str, type]] = {}

    class_weights: Tensor | None
    pixel_mean: Tensor
    pixel_std: Tensor

    @refuse_yacs
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        inference: Policy | None = None,
        extra_losses: Mapping[str, nn.Module | None] | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            backbone: A Detectron2 backbone. Inputs are padded to multiples of its `size_divisibility`.
            sem_seg_head: A `Head`, or one of Detectron2's semantic segmentation heads.
            pixel_mean: The mean of each channel, in grey levels from 0 to 255, which is subtracted from the image.
            pixel_std: The standard deviation of each channel, by which the image is then divided.
            inference: The policy that cuts images into views; by default the whole image is one view.
            extra_losses: Further losses of the training, an `ExtraLoss` for each name. None disables a loss.
            class_weights: The weights (K,) of the classes in all losses, non-negative; None weights all alike.

        Raises:
            ValueError: The mean and standard deviation differ in length, the method does not support a part, an extra
                loss has no `count`, or class weights are given for a head that does not support them.
        """
        super().__init__()
        for argument, part in (("backbone", backbone), ("sem_seg_head", sem_seg_head)):
            kind = self.wanted_parts.get(argument, object)
            if not isinstance(part, kind):
                raise ValueError(
                    f"{type(self).__name__} got the {argument} {type(part).__name__}; wanted {kind.__name__}"
                )
        if len(pixel_mean) != len(pixel_std):
            raise ValueError(
                f"pixel_mean has {len(pixel_mean)} channels and pixel_std {len(pixel_std)}; wanted the same number"
            )
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.inference = inference if inference is not None else WholeImage()
        self.extra_losses = nn.ModuleDict({k: loss for k, loss in (extra_losses or {}).items() if loss is not None})
        for name, loss in self.extra_losses.items():
            if not isinstance(loss, ExtraLoss):
                raise ValueError(f"extra_losses.{name} is a {type(loss).__name__} without `count`; wanted an ExtraLoss")
        if class_weights is not None and not isinstance(sem_seg_head, Head):
            raise ValueError(f"class_weights are given to a {type(sem_seg_head).__name__}, which is no Head of ours")
        given = [] if class_weights is None else [float(weight) for weight in class_weights]
        weights = None if class_weights is None else torch.tensor(given)
        if weights is not None and not (weights.isfinite().all() and (weights >= 0).all() and weights.any()):
            raise ValueError(f"class_weights are {given}; wanted numbers of 0 or more, one above 0")
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict], counts: Mapping[str, Counts] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """
        Args:
            batched_inputs: One dict per image with `image` (3, h, w) in grey levels. For training it also holds
                `sem_seg` (h, w); for inference optionally `height` and `width` of the output (default: those of the
                image), and `original`, a `Rescales` from which views at several scales are created.
            counts: In training, the counts of the whole step from `count`; by default these inputs are the whole step.

        Returns:
            In training the losses by name. In inference one dict per image with `sem_seg` (K, height, width): the
            scores of the head, or probabilities if the policy averages several scales or flips.

        Raises:
            ValueError: Labels are missing in training, or two losses have the same name.
        """
        if self.training:
            return self._losses(batched_inputs, self.count(batched_inputs) if counts is None else counts)
        return [{"sem_seg": scores} for scores in self.scores(batched_inputs)]

    def ids(self, batched_inputs: list[dict], also: Collection[str] = ()) -> list[dict[str, Tensor]]:
        """Predict like `forward` in inference, but with `class_ids` (height, width) int64 in place of the scores.

        Args:
            batched_inputs: The inputs, as in `forward`.
            also: Further outputs: `confidence` (see the method of this name) or `regions` (see `with_regions`).

        Raises:
            ValueError: An unknown output is requested, or neither the backbone nor the head has regions.
        """
        if not set(also) <= set(_ALSO):
            raise ValueError(f"beside class ids {', '.join(also)} are wanted; a segmentor gives {', '.join(_ALSO)}")
        if not also:
            return [{"class_ids": ids} for ids in self.class_ids(batched_inputs)]
        if "regions" in also:
            outputs = self.with_regions(batched_inputs)
        else:
            outputs = [{"sem_seg": scores} for scores in self.scores(batched_inputs)]
        for output in outputs:
            scores = output.pop("sem_seg")
            output["class_ids"] = most_likely(scores)
            if "confidence" in also:
                output["confidence"] = self.confidence(scores)
        return outputs

    def confidence(self, scores: Tensor) -> Tensor:
        """Compute the probability of the most likely class of each pixel.

        Logits go through a softmax. The scores of mask classifiers need not add up to 1 over the classes, so they are
        divided by their sum, as are probabilities that were averaged over several scales or flips.

        Args:
            scores: The scores (K, height, width) of an image, as `scores` returns them.

        Returns:
            The confidence (height, width) in single precision, from 0 to 1.
        """
        averaged, parts = isinstance(self.inference, OverScales), []
        for rows in scores.split(_ROWS, dim=1):
            probabilities = rows if averaged else self.to_probabilities(rows[None])[0]
            probabilities = at_least_single(probabilities)
            total = probabilities.sum(dim=0).clamp_min(torch.finfo(probabilities.dtype).tiny)
            parts.append(probabilities.max(dim=0).values / total)
        return torch.cat(parts)

    def with_regions(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """Compute the scores, and the regions of the tokens in the whole image, whatever the inference policy.

        If the policy runs the images unchanged, scores and regions come from the same forward pass. Otherwise the whole
        image is run once more for its regions.

        Args:
            batched_inputs: The inputs, as in `forward`.

        Returns:
            One dict per image with `sem_seg` (K, height, width), `regions` (Q, h, w) and `region_cell`, the (height,
            width) of a cell of the regions in pixels of the output.

        Raises:
            ValueError: Neither the backbone nor the head has regions.
        """
        find, watched = region_weights_of(self.backbone, self.sem_seg_head), _Watched(self)
        images, sizes = self.normalised(batched_inputs), output_sizes(batched_inputs)
        outputs: list[dict[str, Any]] = [{"sem_seg": scores} for scores in self.infer(watched, batched_inputs, images)]
        prediction = watched.prediction
        if prediction is None or watched.images is not images:
            prediction = self.predict(images)
        regions = regions_of_images(find(prediction.features), prediction.batch_size, prediction.image_sizes)
        for output, image, size, found in zip(outputs, images, sizes, regions, strict=True):
            scales = (wanted / side for wanted, side in zip(size, image.shape[-2:], strict=True))
            output["regions"] = found.weights
            output["region_cell"] = tuple(step * scale for step, scale in zip(found.cell, scales, strict=True))
        return outputs

    def scores(self, batched_inputs: list[dict]) -> list[Tensor]:
        """Compute the scores (K, height, width) of each image; inputs as in `forward`."""
        return self.infer(self, batched_inputs, self.normalised(batched_inputs))

    def infer(self, model: Model, batched_inputs: list[dict], images: list[Tensor]) -> list[Tensor]:
        """Run the inference policy.

        Args:
            model: The model that the policy runs: this segmentor, or a wrapper that observes it.
            batched_inputs: The records of the images.
            images: The normalised images (3, h, w) of the records.

        Returns:
            The scores (K, height, width) of each image.
        """
        sizes = output_sizes(batched_inputs)
        if not isinstance(self.inference, OverScales):
            return self.inference(model, images, sizes)
        pairs = zip(batched_inputs, images, strict=True)
        return self.inference.over_scales(model, [partial(self._at_scale, *pair) for pair in pairs], sizes)

    def _at_scale(self, record: dict, image: Tensor, scale: float) -> Tensor:
        """Return a record's image at a scale, normalised, and resized from the original image if the record has it."""
        original = record.get("original")
        if isinstance(original, Rescales):
            return self.normalise(original.at_scale(scale))
        if output_sizes([record])[0] != tuple(image.shape[-2:]):
            log_first_n(
                logging.WARNING,
                "views at several scales are made of images that were resized before; the test mapper's "
                "keep_original=true has them made of the originals",
                name=__name__,
            )
        return resized(image, scale)

    def class_ids(self, batched_inputs: list[dict]) -> list[Tensor]:
        """Predict the class ids (height, width) int64 of each image; inputs as in `forward`.

        If the policy treats each class independently, only the scores of a few classes are held at full size at a time,
        see `ids_by_classes`.
        """
        if not isinstance(self.inference, AveragesViews):
            return [most_likely(scores) for scores in self.scores(batched_inputs)]
        images, sizes = self.normalised(batched_inputs), output_sizes(batched_inputs)
        return ids_by_classes(self, self.inference, images, sizes)

    def count(self, batched_inputs: list[dict]) -> dict[str, dict[str, Tensor]]:
        """Compute the counts by which the losses of this step are divided, over all processes.

        Args:
            batched_inputs: All images of this process in the step, with their labels.

        Returns:
            The counts, divided by the number of processes, of every part by its name; `step` counts the `images`.
        """
        targets = self._targets(batched_inputs)
        counts: dict[str, Counts] = {"step": {"images": targets.labels.new_tensor(len(batched_inputs))}}
        if isinstance(self.sem_seg_head, Head):
            counts["sem_seg_head"] = self.sem_seg_head.count(targets)
        for name, extra in self.extra_losses.items():
            if isinstance(extra, ExtraLoss):  # all of them are
                counts[f"extra_losses.{name}"] = extra.count(targets)
        return mean_over_processes(counts)

    def _losses(self, batched_inputs: list[dict], counts: Mapping[str, Counts]) -> dict[str, Tensor]:
        targets = self._targets(batched_inputs)
        batch, _ = pad_to_batch(self.normalised(batched_inputs), self.backbone)
        features = self.backbone(batch)
        if isinstance(self.sem_seg_head, Head):
            _, losses = self.sem_seg_head(features, targets.with_counts(counts["sem_seg_head"]))
        else:
            _, losses = self.sem_seg_head(features, targets.labels)
            share = len(batched_inputs) / counts["step"]["images"]  # the head has averaged over these images only
            losses = {name: share * value for name, value in losses.items()}
        for name, extra in self.extra_losses.items():
            further = extra(features, targets.with_counts(counts[f"extra_losses.{name}"]))
            if losses.keys() & further.keys():
                twice = ", ".join(sorted(losses.keys() & further.keys()))
                raise ValueError(
                    f"extra_losses.{name} gives {twice}, which is there already; wanted a prefix of its own"
                )
            losses = losses | further
        return losses

    def _targets(self, batched_inputs: list[dict]) -> Targets:
        missing = [str(x.get("file_name", "an image")) for x in batched_inputs if "sem_seg" not in x]
        if missing:
            raise ValueError(
                f"training wants a label map (key sem_seg) for every image; there is none for {', '.join(missing[:3])}"
            )
        maps = [x["sem_seg"].to(self.device, non_blocking=True) for x in batched_inputs]
        ignored: Any = self.sem_seg_head.ignore_value
        labels, _ = pad_to_batch(maps, self.backbone, ignored)
        return Targets(labels=labels, inputs=batched_inputs, class_weights=self.class_weights)

    def normalised(self, batched_inputs: list[dict]) -> list[Tensor]:
        """Normalise the images (3, h, w) of the records."""
        return [self.normalise(x["image"]) for x in batched_inputs]

    def normalise(self, image: Tensor) -> Tensor:
        """Subtract the mean from images (..., C, h, w) in grey levels and divide by the standard deviation."""
        if image.shape[-3] != len(self.pixel_mean):
            raise ValueError(
                f"an image has {image.shape[-3]} channels, model.pixel_mean {len(self.pixel_mean)} numbers; wanted one "
                "a channel"
            )
        return (image.to(self.device) - self.pixel_mean) / self.pixel_std

    def predict(self, images: list[Tensor]) -> Prediction:
        """Run normalised images (3, h, w) as one batch, padded to one size."""
        batch, image_sizes = pad_to_batch(images, self.backbone)
        features = self.backbone(batch)
        scores, beside = self.sem_seg_head(features, None)
        if isinstance(self.sem_seg_head, Head):
            # Resizing and the argmax, which reads all classes of a pixel, are fastest in channels-last order. Scores of
            # Detectron2's heads keep their order, since another order would round differently.
            scores = channels_last(scores)
        return Prediction(scores, {**features, **beside}, (batch.shape[-2], batch.shape[-1]), image_sizes)

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        """Run normalised images (3, h, w) as one batch and return the scores (K, h, w) of each."""
        return image_scores(self.predict(images))

    def views(self, images: list[Tensor]) -> list[View]:
        """Run normalised images (3, h, w) as one batch and return the head's outputs at their own resolution."""
        if not isinstance(self.sem_seg_head, SumsMasks):
            prediction = self.predict(images)
            pairs = zip(at_least_single(prediction.scores).split(1), prediction.image_sizes, strict=True)
            return [ScoreView(scores, prediction.batch_size, size) for scores, size in pairs]
        batch, image_sizes = pad_to_batch(images, self.backbone)
        masks, class_logits, size = self.sem_seg_head.mask_sum(self.backbone(batch))
        tokens = at_least_single(masks).split(1), class_probabilities(class_logits).split(1)
        whole = batch.shape[-2], batch.shape[-1]
        parts = zip(*tokens, image_sizes, strict=True)
        return [MaskView(mask, probabilities, size, whole, own) for mask, probabilities, own in parts]

    def to_probabilities(self, scores: Tensor) -> Tensor:
        """Convert scores (N, K, h, w) of the head to probabilities over the K classes."""
        head = self.sem_seg_head
        given = isinstance(head, Head) and head.gives_probabilities
        return scores if given else class_softmax(at_least_single(scores))


class _Watched:
    """Acts as the segmentor for a policy, and remembers the last images and their prediction."""

    def __init__(self, model: Segmentor) -> None:
        self.model = model
        self.images: list[Tensor] | None = None
        self.prediction: Prediction | None = None

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        prediction = self.model.predict(images)
        self.images, self.prediction = images, prediction
        return image_scores(prediction)

    def to_probabilities(self, scores: Tensor) -> Tensor:
        return self.model.to_probabilities(scores)


def image_scores(prediction: Prediction) -> list[Tensor]:
    """Return the scores (K, h, w) of each image at its size, in single precision so that close classes do not tie."""
    scores = resize(at_least_single(prediction.scores), prediction.batch_size)
    return [score[:, :height, :width] for score, (height, width) in zip(scores, prediction.image_sizes, strict=True)]


def most_likely(scores: Tensor) -> Tensor:
    """Return the class ids (..., h, w) int64 with the highest scores (..., K, h, w)."""
    # The indices of `max` equal `argmax` and are computed much faster on the CPU.
    return scores.max(dim=-3).indices


def output_sizes(batched_inputs: list[dict]) -> list[tuple[int, int]]:
    """Return the wanted (height, width) of each image's result."""
    return [
        (int(x.get("height", x["image"].shape[-2])), int(x.get("width", x["image"].shape[-1]))) for x in batched_inputs
    ]
