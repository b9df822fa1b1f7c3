"""The memory of a training step, calculated: every operation runs on shapes alone, and the tensors alive are summed."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

# PyTorch documents both under these names, and has no others for them.
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

# Classes that each image shows, in stripes: the losses of masks grow with them.
CLASSES_SHOWN = 16


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step in one process.

    Attributes:
        parameters: The parameters and buffers of the model.
        gradients: The gradients of the parameters that are trained.
        optimizer: The state of the optimiser, after a step.
        averages: The averaged weights of `train.ema`.
        kept: What the forward pass leaves for the backward pass, beyond all of these.
        peak: The most at any moment of forward and backward pass, all of the above included as far as it is there.
        update: The most at any moment of the optimiser's step.
        batch_norms: Whether the model has batch norms that learn from the images that run at once.
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
        """The most at any moment."""
        return max(self.peak, self.update)


class LiveBytes(TorchDispatchMode):
    """Inside this context the bytes of all tensors that operations make are summed while they live.

    A storage counts once, however many tensors look at it, and from the operation that makes it to its end.

    Attributes:
        now: The bytes that live.
        most: The most that have lived at once since the last `restart`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        if function is torch.ops.aten.bincount.default and isinstance(args[0], FakeTensor):
            # The number of counts depends on values; models ask for as many at least as there are.
            made = args[0].new_zeros((kwargs or {}).get("minlength", args[-1]))
        else:
            made = function(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            self.watch(tensor)
        return made

    def watch(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, unless it counts already."""
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
        """Forget the most that has been, but not what lives."""
        self.most = self.now


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in what an operation returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


class OnShapes(TorchFunctionMode):
    """Lets a step run on tensors that have a shape alone, in the memory that it takes on a GPU.

    Where a program wants to know values there are random numbers. Matchers do, whose result has the same size whatever
    the values are, and so do statistics for the log. A mask that has values chooses as many entries as it does in a
    training. Attention drops nothing: with dropout the CPU has no fused kernel, and would keep matrices of all pairs
    that a GPU does not keep.
    """

    asking = frozenset(
        {"numpy", "__array__", "item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero"}
    )

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        name = getattr(function, "__name__", "")
        if name in self.asking and isinstance(args[0], FakeTensor):
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
    """Leaves parameters as they are where a constructor would fill them, which takes long even on shapes alone."""

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        name = getattr(function, "__name__", "")
        if name.endswith("_") and not name.startswith("_") and args and getattr(args[0], "is_meta", False):
            return args[0]
        return function(*args, **(kwargs or {}))


def step_memory(config: DictConfig, *, images: int) -> StepMemory:
    """Calculate the memory of a training step of a config in one process, without its data and without its weights.

    Fused attention is counted as the CPU's kernel keeps it, which like those of CUDA leaves no matrix of all pairs.

    Args:
        config: The config; `train.amp`, `train.accumulate`, `train.freeze` and `train.ema` count.
        images: The number of images that run at once: the share of a process in a batch, over `train.accumulate`.

    A config of semantic segmentation has `dataset.crop`, and its images are such crops; those of a detector are as
    large as the largest images of its training.

    Raises:
        ValueError: The config has no `dataset.crop` and is no detector of Detectron2 with an RPN, or its model wants to
            know values where there are only shapes.
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
            f"the losses of {type(model).__name__} ask for values where there are only shapes ({error.func}); wanted a "
            "model whose tensors have the same sizes whatever their values are"
        ) from error


def _optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    config = config.copy()
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    for group in optimizer.param_groups:
        group["foreach"] = True  # as on a GPU: faster, and with copies of all parameters
    return optimizer


def crops(config: DictConfig, images: int) -> list[dict]:
    """Make images of the size of the training crop, whose labels are upright stripes of the first classes."""
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
    """Sum the tensors that live during a training step, of real tensors or of shapes alone.

    Args:
        model: The model, which returns a dict of losses in training.
        optimizer: The optimiser of its parameters, which has not stepped yet. It takes a step.
        batch: The images that run at once.
        dtype: The type of mixed precision; None is off.
        further_parts: Whether gradients of an earlier part of the batch are there from the beginning.
        averaged: Whether there is a copy of the parameters that follows them.
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
        optimizer.step()  # the state of the optimiser begins here
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
    with EventStorage(0), autocast(torch.device("cpu"), dtype):  # detectors write statistics of a step there
        return sum(model(batch, *counts).values())


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
