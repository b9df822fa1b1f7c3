"""What the parts of a model may ask of one another, as types; `isinstance` tells which contracts a part keeps.

Letters in all docstrings: N images, K classes, Q tokens, C channels, H x W a map's height and width, h x w an image's,
in pixels.

**Counts of the whole step.** Losses are sums divided by counts: valid pixels, masks, components. Such a count belongs
to the whole optimiser step, over all processes and all parts of an accumulated batch, so that gradients do not depend
on how a batch is cut. Every part that computes losses therefore has `count`, which is called with the labels before the
first forward pass of a step. What it counts comes back to it in `Targets.counts`, divided by the number of processes,
since DistributedDataParallel averages gradients over them. A part divides sums by these counts (`losses/counts.py`) and
reduces nothing over processes itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from detectron2.data.catalog import Metadata
from torch import Tensor, nn

# The counts of one part, by names of its own: scalar tensors of single precision.
Counts = Mapping[str, Tensor]


@dataclass(frozen=True)
class Targets:
    """What a head or a loss learns from.

    Attributes:
        labels: (N, H, W) class ids or the ignore label, padded with the ignore label to the size of the batch.
        inputs: The records of the images. Further targets lie there under their keys: what the mapper's
            `label_targets` made of the labels, or Detectron2's `instances`.
        counts: What `count` of the part that gets these targets has counted in the whole step, divided by the number of
            processes.
        class_weights: (K,) how much a pixel, mask or token of each class counts in losses, in sums and counts alike;
            None counts all alike.
    """

    labels: Tensor
    inputs: Sequence[Mapping[str, Any]] = ()
    counts: Counts = field(default_factory=dict)
    class_weights: Tensor | None = None

    @classmethod
    def alone(cls, part: "Head | ExtraLoss", labels: Tensor, inputs: Sequence[Mapping[str, Any]] = ()) -> "Targets":
        """Targets for one part, of a step that consists of these images alone, in one process.

        Args:
            part: A head or loss.
            labels: (N, H, W).
            inputs: The records of the images.
        """
        targets = cls(labels=labels, inputs=inputs)
        return targets.with_counts(part.count(targets))

    def with_counts(self, counts: Counts) -> "Targets":
        """The same targets for another part, with its counts."""
        return replace(self, counts=counts)


def given(targets: Targets | None) -> Targets:
    """The targets of a training step, for a head that may be called without them in inference alone.

    Raises:
        ValueError: There are none.
    """
    if targets is None:
        raise ValueError("a head that trains was called without targets; wanted head(features, targets), or eval()")
    return targets


@runtime_checkable
class Head(Protocol):
    """A head of `Segmentor`.

    Attributes:
        ignore_value: Label of the pixels to ignore.
        gives_probabilities: Whether the scores are probabilities; otherwise they are logits.
    """

    ignore_value: int
    gives_probabilities: bool

    def count(self, targets: Targets) -> Counts:
        """What the head's losses are divided by, of labels alone; `targets.counts` is empty here."""

    def __call__(
        self, features: Mapping[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """In training `(None, losses)`, a dict of scalars; else `(scores, {})`, scores (N, K, h, w) at any stride."""


@runtime_checkable
class ExtraLoss(Protocol):
    """A further loss of the training: an auxiliary head, or the loss of what a backbone returns beside its maps."""

    def count(self, targets: Targets) -> Counts:
        """As a head's."""

    def __call__(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Scalar losses by name; the name begins with `loss_`."""


@runtime_checkable
class Rescales(Protocol):
    """What a record may have as `original`: the image before it was resized."""

    def at_scale(self, scale: float) -> Tensor:
        """The image (3, h, w) in grey levels, as a test has it at a factor on its sides, resized once."""


@runtime_checkable
class ShowsStages(Protocol):
    """A head that can show how its class maps come about, for pictures."""

    def token_maps(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Title of a stage -> maps (N, K, h, w) of the classes, in the order of the stages."""


@runtime_checkable
class SumsMasks(Protocol):
    """A head whose scores are sums over tokens of the probability of a class times a mask, see `class_scores`."""

    def mask_sum(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Masks before the sigmoid (N, Q, h, w), class logits (N, Q, K+1), and the (height, width) of the scores."""


@runtime_checkable
class HasRegions(Protocol):
    """A backbone or head whose tokens have regions."""

    def region_weights(self, features: Mapping[str, Tensor]) -> Tensor:
        """How much each cell belongs to each token, 0 or more: (N, Q, h, w)."""


@runtime_checkable
class HasClassMasks(Protocol):
    """A head each of whose tokens is a class, with a mask that comes from the token and is its region.

    These are no `HasRegions`: the mask of a class that the image lacks is empty, which is no sign of a collapse.
    """

    def class_masks(self, features: Mapping[str, Tensor]) -> Tensor:
        """How much each cell belongs to the mask of each class, 0 to 1: (N, K, h, w)."""


@runtime_checkable
class HasTokens(Protocol):
    """A part of a model, at any depth, whose tokens can be watched while it trains."""

    def token_part(self) -> nn.Module:
        """The part inside it whose output, or the first of whose outputs, is the tokens after their last update:
        vectors (N, Q, D), or maps (N, Q, h, w)."""


@runtime_checkable
class BeginsPretrained(Protocol):
    """A part of a model, at any depth, that can begin from pretrained weights.

    Attributes:
        pretrained: Whether a fresh training is to begin from them.
    """

    pretrained: bool

    def load_pretrained(self) -> None:
        """Take the pretrained weights over; raises ValueError where there are none."""


@runtime_checkable
class TellsFacts(Protocol):
    """A part of a model that tells what the shapes of its weights do not."""

    def facts(self) -> dict[str, Any]:
        """Plain values by name: parts of one class with equal facts and equal weights compute the same."""


@runtime_checkable
class ExportableBackbone(TellsFacts, Protocol):
    """A backbone that `backbone_file.py` can write to a file of its own and load into another model.

    Its facts hold `model_name`, a name of timm's, and `output_stride`, which a user may accept to be another one.

    Attributes:
        pretrained: Whether a fresh training is to begin from pretrained weights; a file that was loaded ends that.
    """

    pretrained: bool

    def fitted(self, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weights of a backbone that has these facts, resampled to the size of this one."""


@runtime_checkable
class ShardsInBlocks(Protocol):
    """A part of a model, such as a backbone, most of whose weights lie in blocks that can be sharded one by one."""

    def shardable_blocks(self) -> list[nn.Module]:
        """The blocks. Each runs as a whole, by a call of its own, whenever the part runs in training."""


@runtime_checkable
class NormalisesPixels(Protocol):
    """A model that takes images in grey levels and normalises them itself, as Detectron2's do.

    Attributes:
        pixel_mean: The mean of each channel, (C, 1, 1), which is subtracted.
        pixel_std: The standard deviation of each channel, (C, 1, 1), which divides after that.
    """

    pixel_mean: Tensor
    pixel_std: Tensor


@runtime_checkable
class CountsSteps(Protocol):
    """A model whose losses are divided by counts of the whole step; other models' losses are averaged over the parts of
    a batch and over processes."""

    def count(self, batched_inputs: list[dict]) -> Mapping[str, Counts]:
        """Counts of this process's whole batch, by the name of the part that counted."""

    def __call__(self, batched_inputs: list[dict], counts: Mapping[str, Counts] | None = None) -> dict[str, Tensor]:
        """Losses of a part of the batch, divided by the counts of the step; without counts by those of this call."""


@runtime_checkable
class NamesMetrics(Protocol):
    """An evaluator that may know before the first evaluation what its results will hold."""

    def metric_names(self) -> list[str] | None:
        """The metrics `<task>/<name>` of every evaluation, those of single classes too; None if they are not known."""


@runtime_checkable
class GivesIds(Protocol):
    """A model that can be asked for class ids alone, which need not cost the memory of the scores."""

    def ids(self, batched_inputs: list[dict], also: Collection[str] = ()) -> list[dict[str, Tensor]]:
        """For each image `class_ids` (H, W) int64, whatever the model returns beside its scores, and what `also` names:
        `confidence`, the probability of the class of each pixel (H, W), or `regions` and `region_cell`, where tokens
        look. Raises ValueError for what the model cannot give."""


@runtime_checkable
class WantsOutputs(Protocol):
    """An evaluator that may want more of a model than class ids.

    Attributes:
        wants: What `GivesIds.ids` is asked for beside class ids; empty if nothing.
    """

    wants: frozenset[str]


# What a model is for, by the key of its results in Detectron2.
Task = Literal["sem_seg", "instances"]


class ReadsPictures(Protocol):
    """What reads the images of a predictor.

    Attributes:
        is_plain: Whether images are colours of 8 bits.
    """

    @property
    def is_plain(self) -> bool: ...

    def read_picture(self, path: str) -> np.ndarray:
        """Read an image for pictures, (H, W, 3) uint8 RGB."""


class Predicts(Protocol):
    """A trained model as a function of images, whatever runs it: what is asked of it to show and save predictions.

    Attributes:
        task: What the model is for.
        model_name: What it is called in messages.
        metadata: Detectron2's metadata of its data, for the colours of the classes.
        class_names: The name of each class id.
        reader: What reads image files as the model wants them.
    """

    @property
    def task(self) -> Task: ...

    @property
    def reader(self) -> ReadsPictures: ...

    @property
    def model_name(self) -> str: ...

    @property
    def metadata(self) -> Metadata: ...

    @property
    def class_names(self) -> list[str]: ...

    def class_ids(self, image: np.ndarray | PathLike) -> Any:
        """The class of each pixel, an array (H, W) of int64, of an (H, W, 3) uint8 RGB image or of an image file; only
        if the task is `sem_seg`."""

    def raster_ids(self, path: PathLike, *, window: int | None = None) -> np.ndarray:
        """The class of each pixel of an image file that is read window by window; only if the task is `sem_seg`."""

    def stored(self, ids: np.ndarray) -> np.ndarray:
        """Class ids as the label maps of the test data store them."""

    def instances(self, image: np.ndarray, *, confidence_threshold: float = 0.0) -> Any:
        """The `Instances` of such a score and above, on the CPU; only if the task is `instances`."""
