"""The segmentor that all methods share: normalise, pad, run backbone and head, then compute the losses or predict.

Inputs and outputs are those of Detectron2's SemanticSegmentor, which it equals on whole images.
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
from .layers.resize import resize
from .layers.single_precision import at_least_single
from .losses.counts import mean_over_processes
from .regions import region_weights_of, regions_of_images

# What `Segmentor.ids` can give beside class ids, and the rows of pixels whose probabilities are there at a time.
_ALSO, _ROWS = ("confidence", "regions"), 32


class Prediction(NamedTuple):
    """What a batch of images gave."""

    scores: Tensor  # (N, K, h, w) of the head, at any stride
    features: dict[str, Tensor]  # the backbone's maps, and what backbone and head return beside maps and scores
    batch_size: tuple[int, int]  # (H, W) of the padded batch
    image_sizes: list[tuple[int, int]]  # (height, width) of each image in it


class Segmentor(nn.Module):
    """Backbone, head and inference policy.

    The head keeps the contract `Head`; Detectron2's own heads, which take label maps and average their losses over
    their own batch, fit too.
    """

    # What a method's meta-architecture demands of its parts: argument -> class.
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
            backbone: Detectron2 backbone; its `size_divisibility` says what inputs are padded to.
            sem_seg_head: A `Head`, or one of Detectron2's.
            pixel_mean: Subtracted from the image, per channel, in grey levels of 0..255.
            pixel_std: Divides the image after that.
            inference: The policy that cuts images into views; by default the whole image is one view.
            extra_losses: An `ExtraLoss` under each name; None leaves one out.
            class_weights: (K,) how much each class counts in the losses of head and extra losses, 0 or more; None
                counts all alike.

        Raises:
            ValueError: Mean and standard deviation of different length, a part that the method does not take, an extra
                loss without `count`, or class weights for a head that does not know them.
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
            batched_inputs: A dict an image with `image` (3, h, w) in grey levels; in training `sem_seg` (h, w);
                in inference optionally `height` and `width` of the output (default: the image's), and `original`, a
                `Rescales`, of which views at several scales are made.
            counts: In training, what `count` gave for the whole step; by default these inputs are the whole step.

        Returns:
            In training the losses, in inference a dict an image with `sem_seg` (K, height, width): the head's scores,
            or probabilities where the policy averages several scales or flips.

        Raises:
            ValueError: Training without labels, or two losses of one name.
        """
        if self.training:
            return self._losses(batched_inputs, self.count(batched_inputs) if counts is None else counts)
        return [{"sem_seg": scores} for scores in self.scores(batched_inputs)]

    def ids(self, batched_inputs: list[dict], also: Collection[str] = ()) -> list[dict[str, Tensor]]:
        """What `forward` gives in inference, with `class_ids` (height, width) int64 in place of the scores.

        Args:
            batched_inputs: As in `forward`.
            also: What else is wanted: `confidence`, see there; `regions`, see `with_regions`.

        Raises:
            ValueError: Something else is wanted, or neither backbone nor head has regions.
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
        """The probability of the likeliest class of each pixel, among the probabilities of all classes.

        Logits go through a softmax. The scores of mask classifiers, sums over tokens that need not add up to 1, are
        divided by their sum; so are probabilities that were averaged over several scales or flips.

        Args:
            scores: What `scores` gave for an image, (K, height, width).

        Returns:
            (height, width) in single precision, 0 to 1.
        """
        averaged, parts = isinstance(self.inference, OverScales), []
        for rows in scores.split(_ROWS, dim=1):
            probabilities = rows if averaged else self.to_probabilities(rows[None])[0]
            probabilities = at_least_single(probabilities)
            total = probabilities.sum(dim=0).clamp_min(torch.finfo(probabilities.dtype).tiny)
            parts.append(probabilities.max(dim=0).values / total)
        return torch.cat(parts)

    def with_regions(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """Scores, and the regions of tokens in the whole image, whatever the policy.

        Where the policy runs the images as they are, scores and regions come from one run of the backbone; else the
        whole image runs once more for its regions.

        Args:
            batched_inputs: As in `forward`.

        Returns:
            A dict an image with `sem_seg` (K, height, width), `regions` (Q, h, w) and `region_cell`, the (height,
            width) of one of their cells in pixels of the output.

        Raises:
            ValueError: Neither backbone nor head has regions.
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
        """The scores (K, height, width) of each image; inputs as in `forward`."""
        return self.infer(self, batched_inputs, self.normalised(batched_inputs))

    def infer(self, model: Model, batched_inputs: list[dict], images: list[Tensor]) -> list[Tensor]:
        """Run the inference policy.

        Args:
            model: What the policy runs: this segmentor, or one that watches it.
            batched_inputs: The records of the images.
            images: The images (3, h, w) of the records, normalised.

        Returns:
            Scores (K, height, width) of each image.
        """
        sizes = output_sizes(batched_inputs)
        if not isinstance(self.inference, OverScales):
            return self.inference(model, images, sizes)
        pairs = zip(batched_inputs, images, strict=True)
        return self.inference.over_scales(model, [partial(self._at_scale, *pair) for pair in pairs], sizes)

    def _at_scale(self, record: dict, image: Tensor, scale: float) -> Tensor:
        """A record's image at a scale, normalised: made of the original where the record has it."""
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
        """The class ids (height, width) int64 of each image; inputs as in `forward`.

        Where the policy treats each class by itself, no more than a few classes have scores at the size of the image
        at a time, see `ids_by_classes`.
        """
        if not isinstance(self.inference, AveragesViews):
            return [most_likely(scores) for scores in self.scores(batched_inputs)]
        images, sizes = self.normalised(batched_inputs), output_sizes(batched_inputs)
        return ids_by_classes(self, self.inference, images, sizes)

    def count(self, batched_inputs: list[dict]) -> dict[str, dict[str, Tensor]]:
        """What the losses of this step are divided by, over all processes.

        Args:
            batched_inputs: All images of this process in the step, with their labels.

        Returns:
            Counts divided by the number of processes, by the name of the part that counts; `step` counts `images`.
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
            share = len(batched_inputs) / counts["step"]["images"]  # it has averaged over these images alone
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
        """The images (3, h, w), less the mean and divided by the standard deviation of the pixels."""
        return [self.normalise(x["image"]) for x in batched_inputs]

    def normalise(self, image: Tensor) -> Tensor:
        """Images (..., C, h, w) in grey levels, less the mean and divided by the standard deviation of the pixels."""
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
            # The order in which resizing and the choice of the class, which reads all classes of a pixel, are fastest.
            # Scores of Detectron2's heads stay as they are, since another order is rounded differently.
            scores = scores.contiguous(memory_format=torch.channels_last)
        return Prediction(scores, {**features, **beside}, (batch.shape[-2], batch.shape[-1]), image_sizes)

    def segment(self, images: list[Tensor]) -> list[Tensor]:
        """Scores of normalised images (3, h, w), run as one batch: (K, h, w) each."""
        return image_scores(self.predict(images))

    def views(self, images: list[Tensor]) -> list[View]:
        """What the head says of normalised images (3, h, w), run as one batch, at the size of its own maps."""
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
        """(N, K, h, w) scores of the head as probabilities over the K classes."""
        head = self.sem_seg_head
        given = isinstance(head, Head) and head.gives_probabilities
        return scores if given else at_least_single(scores).softmax(dim=1)


class _Watched:
    """A segmentor to a policy, which remembers the last images and what they gave."""

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
    """The scores of each image at its size, (K, h, w), in single precision, where close classes do not tie."""
    scores = resize(at_least_single(prediction.scores), prediction.batch_size)
    return [score[:, :height, :width] for score, (height, width) in zip(scores, prediction.image_sizes, strict=True)]


def most_likely(scores: Tensor) -> Tensor:
    """Scores (..., K, h, w) to ids (..., h, w) int64 of the highest."""
    # indices of max, not argmax: the same values, and much faster on the CPU
    return scores.max(dim=-3).indices


def output_sizes(batched_inputs: list[dict]) -> list[tuple[int, int]]:
    """(height, width) wanted of each image's result."""
    return [
        (int(x.get("height", x["image"].shape[-2])), int(x.get("width", x["image"].shape[-1]))) for x in batched_inputs
    ]
