"""Calculation of the memory of a training step, by running it on fake tensors and summing the bytes of live tensors.

Fake tensors, PyTorch's `FakeTensor`, have a shape and a data type but no values, so a step takes neither memory nor
much time, whatever the size of the model.
"""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

# The documented names of fake tensors begin with an underscore in their path; PyTorch has no others for them.
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..config.instantiate import instantiate
from ..contracts import CountsSteps
from ..data.components import ConnectedComponents
from ..engine.build import begin_random
from ..engine.frozen_parts import freeze
from ..engine.precision import amp_dtype, autocast
from .detector_step import photos, prepare_detector

# The number of classes in each image, as stripes. The memory of mask losses grows with it.
CLASSES_SHOWN = 16


@dataclass(frozen=True)
class StepMemory:
    """The bytes of a training step in one process.

    Attributes:
        parameters: The bytes of the model's parameters and buffers.
        gradients: The bytes of the gradients of all trainable parameters.
        optimizer: The bytes of the optimiser's state, after a step.
        averages: The bytes of the averaged weights of `train.ema`.
        kept: The bytes of the tensors that the forward pass keeps for the backward pass, without the above.
        peak: The maximum during the forward and backward pass, including the above as far as they exist then.
        update: The maximum during the optimiser's step.
        batch_norms: Whether the model has batch norms that use statistics of the current images.
    """

    parameters: int
    gradients: int
    optimizer: int
    averages: int
    kept: int
    peak: int
    update: int
    batch_norms: bool

    @property
    def most(self) -> int:
        """The maximum during the whole step."""
        return max(self.peak, self.update)


class LiveBytes(TorchDispatchMode):
    """Inside this context, sums the bytes of all live tensors that operations create.

    A storage is counted once, however many tensors view it, from its creation until it is freed.

    Attributes:
        now: The bytes that are live now.
        most: The maximum of `now` since the last `restart`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        if function is torch.ops.aten.bincount.default and isinstance(args[0], FakeTensor):
            # The output size depends on values, unless `minlength` is large enough, which it is in all models here.
            made = args[0].new_zeros((kwargs or {}).get("minlength", args[-1]))
        else:
            made = function(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            self.watch(tensor)
        return made

    def watch(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, unless it is counted already."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def end(_: weakref.ref) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, end)
        self.now += size
        self.most = max(self.most, self.now)

    def restart(self) -> None:
        """Reset the maximum to the bytes that are live now."""
        self.most = self.now


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in the return value of an operation."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


class OnShapes(TorchFunctionMode):
    """Lets a step run on fake tensors, with the memory that it takes on a GPU.

    If code reads values, it gets random numbers. Matchers do this, whose results have the same size for all values, and
    so do statistics for the log. Indexing by a mask with real values selects as many entries as in a training.
    Attention runs without dropout: the CPU has no fused kernel with dropout, and would keep matrices of all pairs of
    tokens, which a GPU does not keep.
    """

    reads_values = frozenset(
        {"numpy", "__array__", "item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero"}
    )

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        name = getattr(function, "__name__", "")
        if name in self.reads_values and isinstance(args[0], FakeTensor):
            drawn = torch.from_numpy(np.random.default_rng(0).random(tuple(args[0].shape)))
            return function(drawn.to(args[0].dtype), *args[1:], **(kwargs or {}))
        if name == "__getitem__" and isinstance(args[0], FakeTensor) and _is_known_mask(args[1]):
            args = (args[0], args[1].nonzero(as_tuple=True))
        if name == "scaled_dot_product_attention":
            kwargs = (kwargs or {}) | {"dropout_p": 0.0}
        return function(*args, **(kwargs or {}))


def _is_known_mask(index: object) -> bool:
    return isinstance(index, Tensor) and not isinstance(index, FakeTensor) and index.dtype == torch.bool


class _Unfilled(TorchFunctionMode):
    """Skips the initialisation of parameters in constructors, which takes long even on the device `meta`."""

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        name = getattr(function, "__name__", "")
        if name.endswith("_") and not name.startswith("_") and args and getattr(args[0], "is_meta", False):
            return args[0]
        return function(*args, **(kwargs or {}))


def step_memory(config: DictConfig, *, images: int) -> StepMemory:
    """Calculate the memory of a training step of a config in one process, without its data and its weights.

    With `dataset.crop`, as in semantic segmentation, images have the size of the crop. Without it, as in detection,
    they have the largest size of the training. Fused attention is counted by the CPU's kernel, which keeps no matrix of
    all pairs of tokens, like the kernels of CUDA.

    Args:
        config: The config; `train.amp`, `train.accumulate`, `train.freeze` and `train.ema` are taken into account.
        images: The number of images that run at once: a process's share of the batch, divided by `train.accumulate`.

    Raises:
        ValueError: The config has no `dataset.crop` and its model is not a detector of Detectron2 with an RPN, or the
            sizes of its tensors depend on values.
    """
    detects = OmegaConf.select(config, "dataset.crop") is None
    with torch.device("meta"), _Unfilled():
        model = begin_random(instantiate(config.model)).train()
    freeze(model, config.train.get("freeze", []))
    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    with shapes:
        model.to_empty(device="cpu")
    if detects:
        prepare_detector(model, config)
    optimizer = _optimizer(config, model)
    try:
        return measure_step(
            model,
            optimizer,
            photos(config, images) if detects else crops(config, images),
            dtype=amp_dtype(config.train.amp, "cuda"),
            further_parts=config.train.accumulate > 1,
            averaged=bool(OmegaConf.select(config.train, "ema.decay", default=0)),
        )
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(
            f"the sizes of tensors in the losses of {type(model).__name__} depend on values ({error.func}), but there "
            "are only shapes; wanted a model whose tensors have the same sizes for all values"
        ) from error


def _optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    config = config.copy()
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    for group in optimizer.param_groups:
        group["foreach"] = True  # the default on a GPU; it is faster, and needs copies of all parameters
    return optimizer


def crops(config: DictConfig, images: int) -> list[dict]:
    """Create images of the size of the training crop, whose labels are vertical stripes of the first classes."""
    size, classes = config.dataset.crop, min(CLASSES_SHOWN, config.dataset.num_classes)
    label = (torch.arange(size) * classes // size).expand(size, size).contiguous()
    components = ConnectedComponents(num_active=2 * CLASSES_SHOWN)(label.numpy())
    image = torch.zeros(3, size, size, dtype=torch.uint8)
    return [{"image": image, "sem_seg": label, "components": components, "seed": place} for place in range(images)]


def measure_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: list[dict],
    *,
    dtype: torch.dtype | None = None,
    further_parts: bool = False,
    averaged: bool = False,
) -> StepMemory:
    """Sum the bytes of live tensors during a training step, of real or of fake tensors.

    Args:
        model: The model, which returns a dict of losses in training.
        optimizer: The optimiser of its parameters, which has not made a step yet. It makes steps here.
        batch: The images that run at once.
        dtype: The data type of mixed precision; None turns it off.
        further_parts: Whether the gradients of an earlier part of the batch exist from the beginning.
        averaged: Whether there is an averaged copy of the parameters.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parameters = sum(map(_size, [*model.parameters(), *model.buffers()]))
    gradients = sum(map(_size, trained))
    averages = sum(map(_size, model.parameters())) if averaged else 0
    live = LiveBytes()
    with OnShapes(), live:
        for tensor in (*model.parameters(), *model.buffers()):
            live.watch(tensor)
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # the first step creates the optimiser's state
        live.restart()
        optimizer.step()
        update = live.most
        if not further_parts:
            optimizer.zero_grad(set_to_none=True)
        before = live.now
        state = before - parameters - (gradients if further_parts else 0)
        live.restart()
        losses = _losses(model, batch, dtype)
        kept = live.now - before
        losses.backward()
        peak = live.most
    batch_norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    return StepMemory(parameters, gradients, state, averages, kept, averages + peak, averages + update, batch_norms)


def _losses(model: nn.Module, batch: list[dict], dtype: torch.dtype | None) -> Tensor:
    counts = [model.count(batch)] if isinstance(model, CountsSteps) else []
    with EventStorage(0), autocast(torch.device("cpu"), dtype):  # detectors log statistics to the event storage
        return sum(model(batch, *counts).values())


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
