"""The memory of a training step, calculated: every operation runs on shapes alone, and the tensors alive are summed."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

# PyTorch documents both under these names, and has no others for them.
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..config.instantiate import instantiate
from ..contracts import CountsSteps
from ..data.components import ConnectedComponents
from ..engine.build import begin_random
from ..engine.frozen_parts import freeze
from ..engine.precision import amp_dtype, autocast

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
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
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


class _DrawnValues(TorchFunctionMode):
    """Gives random numbers where a program wants to know values of tensors that have a shape alone.

    Matchers do, whose result has the same size whatever the values are. Counts have as many numbers as are asked for at
    least.
    """

    asking = frozenset({"numpy", "__array__", "item", "tolist", "__bool__", "__float__", "__int__", "__index__"})

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        name = getattr(function, "__name__", "")
        if name == "bincount" and isinstance(args[0], FakeTensor):
            return args[0].new_zeros((kwargs or {})["minlength"])
        if name in self.asking and isinstance(args[0], FakeTensor):
            drawn = torch.from_numpy(np.random.default_rng(0).random(tuple(args[0].shape)))
            return function(drawn.to(args[0].dtype), *args[1:], **(kwargs or {}))
        return function(*args, **(kwargs or {}))


class _Unfilled(TorchFunctionMode):
    """Leaves parameters as they are where a constructor would fill them, which takes long even on shapes alone."""

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        name = getattr(function, "__name__", "")
        if name.endswith("_") and not name.startswith("_") and args and getattr(args[0], "is_meta", False):
            return args[0]
        return function(*args, **(kwargs or {}))


def step_memory(config: DictConfig, *, images: int) -> StepMemory:
    """Calculate the memory of a training step of a config in one process, without its data and without its weights.

    Attention is counted as the CPU's fused kernel keeps it, which like those of CUDA leaves no matrix of all pairs.

    Args:
        config: The config; `train.amp`, `train.accumulate`, `train.freeze` and `train.ema` count.
        images: The number of images that run at once: the share of a process in a batch, over `train.accumulate`.

    Raises:
        ValueError: The config has no `dataset.crop`, or its model wants to know values where there are only shapes.
    """
    if OmegaConf.select(config, "dataset.crop") is None:
        raise ValueError("the config has no dataset.crop; wanted a model of semantic segmentation, on square crops")
    with torch.device("meta"), _Unfilled():
        model = begin_random(instantiate(config.model)).train()
    freeze(model, config.train.get("freeze", []))
    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    with shapes:
        model.to_empty(device="cpu")
    optimizer = _optimizer(config, model)
    return measure_step(
        model,
        optimizer,
        crops(config, images),
        dtype=amp_dtype(config.train.amp, "cuda"),
        further_parts=config.train.accumulate > 1,
        averaged=bool(OmegaConf.select(config.train, "ema.decay", default=0)),
    )


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
    with _DrawnValues(), live:
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
        torch.autograd.backward(losses)  # Tensor.backward would switch off the drawing of values
        peak = live.most
    batch_norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    return StepMemory(parameters, gradients, state, averages, kept, averages + peak, averages + update, batch_norms)


def _losses(model: nn.Module, batch: list[dict], dtype: torch.dtype | None) -> Tensor:
    counts = [model.count(batch)] if isinstance(model, CountsSteps) else []
    with autocast(torch.device("cpu"), dtype):
        return sum(model(batch, *counts).values())


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
