"""The protocols between the parts of a model; `isinstance` tells which of them a part implements.

`NormalisesPixels` is the exception, for which there is a function.

Letters in all docstrings: N images, K classes, Q tokens, C channels, H x W a map's height and width, h x w an image's,
in pixels.

**Counts of the whole step.** Losses are sums divided by counts of valid pixels, masks or components. These counts cover
the whole optimiser step, that is, all processes and all micro-batches of an accumulated batch, so that gradients do not
depend on how a batch is divided. Every part that computes losses therefore has a method `count`, which is called with
the labels before the first forward pass of a step. The part receives its counts back in `Targets.counts`, divided by
the number of processes, since DistributedDataParallel averages gradients over processes. It divides its sums by these
counts (`losses/counts.py`) and never reduces over processes itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
from detectron2.data.catalog import Metadata
from torch import Tensor, nn

# The counts of one part: scalar tensors in single precision, by names that the part chooses.
Counts = Mapping[str, Tensor]


@dataclass(frozen=True)
class Targets:
    """The training targets of a head or a loss.

    Attributes:
        labels: The class ids or the ignore label, (N, H, W), padded with the ignore label to the size of the batch.
        inputs: The records of the images, which may hold further targets under their own keys: those that the mapper's
            `label_targets` derived from the labels, or Detectron2's `instances`.
        counts: The counts of the whole step, from the `count` of the part that receives these targets, divided by the
            number of processes.
        class_weights: The weights (K,) of pixels, masks or tokens by class, applied in both the sums and the counts;
            None weights all classes alike.
    """

    labels: Tensor
    inputs: Sequence[Mapping[str, Any]] = ()
    counts: Counts = field(default_factory=dict)
    class_weights: Tensor | None = None

    @classmethod
    def alone(cls, part: "Head | ExtraLoss", labels: Tensor, inputs: Sequence[Mapping[str, Any]] = ()) -> "Targets":
        """Create the targets of one part for a step that consists of these images only, in a single process.

        Args:
            part: The head or loss, whose `count` is called.
            labels: The labels (N, H, W).
            inputs: The records of the images.
        """
        targets = cls(labels=labels, inputs=inputs)
        return targets.with_counts(part.count(targets))

    def with_counts(self, counts: Counts) -> "Targets":
        """Return the same targets with the counts of another part."""
        return replace(self, counts=counts)


def given(targets: Targets | None) -> Targets:
    """Return the targets, which a head may only be called without in inference.

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
        ignore_value: The label of the pixels to ignore.
        gives_probabilities: Whether the scores are probabilities; otherwise they are logits.
    """

    ignore_value: int
    gives_probabilities: bool

    def count(self, targets: Targets) -> Counts:
        """Compute the counts by which the head's losses are divided from the labels; `targets.counts` is empty here."""

    def __call__(
        self, features: Mapping[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Return `(None, losses)` with scalar losses in training, else `(scores, {})` with scores (N, K, h, w)."""


@runtime_checkable
class ExtraLoss(Protocol):
    """A further training loss: an auxiliary head, or a loss on outputs of the backbone other than its feature maps."""

    def count(self, targets: Targets) -> Counts:
        """Compute the counts by which the losses are divided, like `Head.count`."""

    def __call__(self, features: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Return scalar losses by name; every name begins with `loss_`."""


@runtime_checkable
class Rescales(Protocol):
    """The image of a record before it was resized, stored under the record's key `original`."""

    def at_scale(self, scale: float) -> Tensor:
        """Return the test image (3, h, w) in grey levels with its sides multiplied by `scale`, resized only once."""


@runtime_checkable
class ShowsStages(Protocol):
    """A head that can visualise how its class maps develop."""

    def token_maps(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the class maps (N, K, h, w) of every stage by the stage's title, in the order of the stages."""


@runtime_checkable
class SumsMasks(Protocol):
    """A head whose scores are sums over tokens of the probability of a class times a mask, see `class_scores`."""

    def mask_sum(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return mask logits (N, Q, h, w), class logits (N, Q, K+1) and the (height, width) of the scores."""


@runtime_checkable
class HasRegions(Protocol):
    """A backbone or head whose tokens have regions."""

    def region_weights(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return how strongly each cell belongs to each token, as non-negative weights (N, Q, h, w)."""


@runtime_checkable
class HasClassMasks(Protocol):
    """A head with one token per class, whose predicted mask is the token's region.

    This is a separate protocol from `HasRegions`, since the mask of an absent class is empty without being a sign of
    collapse.
    """

    def class_masks(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return how strongly each cell belongs to the mask of each class, 0 to 1, (N, K, h, w)."""


@runtime_checkable
class HasTokens(Protocol):
    """A part of a model, at any depth, whose tokens can be monitored during training."""

    def token_part(self) -> nn.Module:
        """Return the submodule whose (first) output is the tokens after their last update, as vectors (N, Q, D) or maps
        (N, Q, h, w)."""


@runtime_checkable
class BeginsPretrained(Protocol):
    """A part of a model, at any depth, that can be initialised from pretrained weights.

    Attributes:
        pretrained: Whether a new training starts from the pretrained weights.
    """

    pretrained: bool

    def load_pretrained(self) -> None:
        """Load the pretrained weights, or raise a ValueError if there are none."""


@runtime_checkable
class TellsFacts(Protocol):
    """A part of a model that reports the settings which cannot be read off the shapes of its weights."""

    def facts(self) -> dict[str, Any]:
        """Return plain values by name. Parts of one class with equal facts and equal weights compute the same."""


@runtime_checkable
class ExportableBackbone(TellsFacts, Protocol):
    """A backbone that `backbone_file.py` can save to a separate file and load into another model.

    Its facts include `model_name`, the name in timm, and `output_stride`, which the user may allow to differ.

    Attributes:
        pretrained: Whether a new training starts from pretrained weights; loading a file sets it to False.
    """

    pretrained: bool

    def fitted(self, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weights of a backbone that has these facts, resampled to the size of this one."""


@runtime_checkable
class ShardsInBlocks(Protocol):
    """A part of a model, such as a backbone, most of whose weights are in blocks that can be sharded individually."""

    def shardable_blocks(self) -> list[nn.Module]:
        """Return the blocks. In training each block must be run by calling the module itself, not its children."""


@runtime_checkable
class AttendsInWindows(Protocol):
    """A backbone whose blocks may attend within windows, such as one around a Swin."""

    @property
    def window_span(self) -> int:
        """The side in pixels of what a window of the coarsest map covers; 0 without windows."""


class NormalisesPixels(Protocol):
    """A model that takes images in grey levels and normalises them itself, like Detectron2's models.

    `normalises_pixels` finds such models, because the attributes are buffers of a torch module: `isinstance` sees these
    up to Python 3.11 only, since later versions no longer call a module's `__getattr__`.

    Attributes:
        pixel_mean: The mean of each channel, (C, 1, 1), which is subtracted.
        pixel_std: The standard deviation of each channel, (C, 1, 1), by which the result is divided.
    """

    pixel_mean: Tensor
    pixel_std: Tensor


def normalises_pixels(module: nn.Module) -> TypeGuard[NormalisesPixels]:
    """Return whether a module implements `NormalisesPixels`."""
    return {"pixel_mean", "pixel_std"} <= {name for name, _ in module.named_buffers(recurse=False)}


@runtime_checkable
class CountsSteps(Protocol):
    """A model whose losses are divided by counts of the whole step. The losses of other models are averaged over
    micro-batches and processes."""

    def count(self, batched_inputs: list[dict]) -> Mapping[str, Counts]:
        """Return the counts of this process's whole batch, by the name of the part that counted."""

    def __call__(self, batched_inputs: list[dict], counts: Mapping[str, Counts] | None = None) -> dict[str, Tensor]:
        """Return the losses of a micro-batch divided by the counts, by default the counts of these inputs alone."""


@runtime_checkable
class NamesMetrics(Protocol):
    """An evaluator that may know the names of its metrics before the first evaluation."""

    def metric_names(self) -> list[str] | None:
        """Return the names `<task>/<name>` of all metrics, including those of single classes; None if unknown."""


@runtime_checkable
class GivesIds(Protocol):
    """A model that can predict class ids without holding the scores of all classes in memory."""

    def ids(self, batched_inputs: list[dict], also: Collection[str] = ()) -> list[dict[str, Tensor]]:
        """Return for each image `class_ids` (H, W) int64 and the outputs named in `also`: `confidence`, the probability
        (H, W) of the predicted class, or `regions` and `region_cell`, the regions of the tokens. Raises a ValueError
        for outputs that the model does not support."""


@runtime_checkable
class WantsOutputs(Protocol):
    """An evaluator that may need further outputs of a model besides class ids.

    Attributes:
        wants: The outputs that `GivesIds.ids` is asked for in its argument `also`; may be empty.
    """

    wants: frozenset[str]


# The task of a model, named after the key of its results in Detectron2.
Task = Literal["sem_seg", "instances"]


class ReadsPictures(Protocol):
    """A reader of the images of a predictor.

    Attributes:
        is_plain: Whether images are ordinary 8-bit colour images.
    """

    @property
    def is_plain(self) -> bool: ...

    def read_picture(self, path: str) -> np.ndarray:
        """Read an image for visualisation, (H, W, 3) uint8 RGB."""


class Predicts(Protocol):
    """A trained model as a function of images, independent of the library that runs it.

    Attributes:
        task: The task of the model.
        model_name: The name of the model in messages.
        metadata: Detectron2's metadata of the model's data set, used for the colours of the classes.
        class_names: The name of each class id.
        reader: The reader of image files in the format that the model needs.
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
        """Predict the class of each pixel, (H, W) int64, for an (H, W, 3) uint8 RGB image or an image file. Only for
        models whose task is `sem_seg`."""

    def raster_ids(self, path: PathLike, *, window: int | None = None) -> np.ndarray:
        """Predict the class of each pixel of an image file that is read window by window; only for `sem_seg`."""

    def stored(self, ids: np.ndarray) -> np.ndarray:
        """Convert class ids to the ids that the label maps of the test data store."""

    def instances(self, image: np.ndarray, *, confidence_threshold: float = 0.0) -> Any:
        """Predict the `Instances` with at least this score, on the CPU; only for models whose task is `instances`."""
