"""Training with weights, gradients and states of the optimiser spread over all processes, by torch's `fully_shard`.

Each process holds a part of every parameter, as a `DTensor`. A block of the model has all of its weights in a process
only while it runs, so that a model fits that is larger than one card. What leaves this room is ordinary again:
checkpoints hold whole tensors (`gathered`), and what a process does alone, such as an evaluation, it does with a
`Replica`, which holds all weights for that time.
"""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..contracts import ShardsInBlocks

logger = logging.getLogger(__name__)


def check_sharding(settings: DictConfig, processes: int) -> None:
    """Refuse settings with which a training cannot be sharded.

    Args:
        settings: The section `train` of a config.
        processes: The number of processes of the run.

    Raises:
        ValueError: `train.shard` is true for one process, or together with a setting that it excludes.
    """
    if not settings.get("shard", False):
        return
    if processes == 1:
        raise ValueError("train.shard is true for one process; wanted several (--num-gpus), or train.shard=false")
    wrong = [f"train.ddp.{name}" for name, value in settings.ddp.items() if value]
    if wrong:
        raise ValueError(
            f"train.shard is true together with {', '.join(wrong)}, which DistributedDataParallel alone knows; wanted "
            "these false, or train.shard=false"
        )


def is_sharded(model: nn.Module) -> bool:
    """Whether the weights of a model are spread over processes."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, device: str) -> None:
    """Spread the weights of a model over all processes, in place; all of them get those of the main process.

    The blocks that its parts name (`ShardsInBlocks`) are gathered one by one when they run, the rest for a whole step.

    Args:
        model: The model, whose weights may lie on the CPU: no more than a block of them moves to the device at a time.
        device: The device of the training, `cpu` or `cuda`.

    Raises:
        ValueError: A parameter is a single number without a dimension, which cannot be spread.
    """
    single = [name for name, parameter in model.named_parameters() if not parameter.ndim]
    if single:
        raise ValueError(
            f"train.shard is true, but the model has parameters without a dimension, such as {single[0]}; wanted a "
            "dimension of one, or train.shard=false"
        )
    mesh = init_device_mesh(device, (comm.get_world_size(),))
    parts = [part for part in model.modules() if isinstance(part, ShardsInBlocks)]
    blocks = [block for part in parts for block in part.shardable_blocks() if any(True for _ in block.parameters())]
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for block in blocks]
    whole = sum(parameter.numel() for parameter in model.parameters())
    for part in [*blocks, model]:
        _equalise(part, torch.device(device))
        fully_shard(part, mesh=mesh)
    logger.info(
        "Sharded over %d processes: %.2f M parameters in %d blocks, at most %.2f M in one, and %.2f M in the rest, "
        "which each process gathers for a whole step",
        comm.get_world_size(),
        sum(sizes) / 1e6,
        len(blocks),
        max(sizes, default=0) / 1e6,
        (whole - sum(sizes)) / 1e6,
    )


@torch.no_grad()
def _equalise(part: nn.Module, device: torch.device) -> None:
    """Move what is not sharded yet to the device, with the values of the main process."""
    for value in [*part.parameters(), *part.buffers()]:
        if not isinstance(value, DTensor):
            value.data = value.data.to(device).contiguous()
            dist.broadcast(value.data, src=0)


class Replica:
    """A second model of the same parts, which holds weights in every process while something runs it.

    It has no memory for weights of its own, and the buffers of the first model.
    """

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: The model, before it is sharded.
        """
        empty = {
            id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
            for parameter in model.parameters()
        }
        self._model = copy.deepcopy(model, empty | {id(buffer): buffer for buffer in model.buffers()})

    @contextmanager
    def holding(self, model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """Inside the block the replica holds all weights. If they are spread, all processes must enter it together.

        Args:
            model: The first model.
            weights: The weights to hold, by their names in the model, whole or spread; by default the model's own.

        Yields:
            The replica, in the mode in which it was left.
        """
        chosen = dict(model.named_parameters(remove_duplicate=False)) if weights is None else weights
        empty = dict(self._model.named_parameters(remove_duplicate=False))
        self._set({name: nn.Parameter(_whole(value.detach()), requires_grad=False) for name, value in chosen.items()})
        self._set(dict(model.named_buffers(remove_duplicate=False)))
        try:
            yield self._model
        finally:
            self._set(empty)

    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            place, _, own = name.rpartition(".")
            setattr(self._model.get_submodule(place), own, value)


def local(value: Tensor) -> Tensor:
    """The part of a tensor that this process holds, with the same memory: all of it if it is not spread."""
    return value.to_local() if isinstance(value, DTensor) else value


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(state: Any, *, keep: bool, known: dict[int, Tensor | None] | None = None) -> Any:
    """A state dict with whole tensors on the CPU in the place of those that are spread over processes.

    All processes must call it, with states that hold the same names in the same order.

    Args:
        state: What a `state_dict()` gave: tensors and plain values in mappings and lists.
        keep: Whether this process keeps the whole tensors; if not, there is None in their place.
        known: The whole tensors by the identity of what they were gathered from, if more than one call shares them.
    """
    known = {} if known is None else known
    if isinstance(state, DTensor):
        if id(state) not in known:
            whole = cast(DTensor, state.detach()).full_tensor()
            known[id(state)] = whole.cpu() if keep else None
        return known[id(state)]
    if isinstance(state, Mapping):
        filled: Any = copy.copy(state)  # of the same type, with the versions that a module's state has as an attribute
        for name, value in state.items():
            filled[name] = gathered(value, keep=keep, known=known)
        return filled
    if isinstance(state, (list, tuple)):
        return type(state)(gathered(value, keep=keep, known=known) for value in state)
    return state


def spread_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, spread over processes as another one of the same shape is, if that one is spread.

    Args:
        value: The whole tensor, alike in all processes.
        like: The tensor that says how.
    """
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def spread_optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser as checkpoints hold it, spread as the optimiser's parameters are.

    Args:
        state: What `state_dict()` of an optimiser gave, with whole tensors.
        optimizer: The optimiser that is to load it.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    by_number = dict(zip(numbers, parameters, strict=False))  # the optimiser itself refuses another number of them
    spread = {
        number: {
            name: spread_like(value, by_number[number]) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": spread}


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together, alike in all processes, however the gradients are spread."""
    norm = nn.utils.get_total_norm([local(gradient) for gradient in gradients])
    if not any(isinstance(gradient, DTensor) for gradient in gradients):
        return norm
    # not the square, which overflows sooner than the norm does
    norms = norm.new_zeros(comm.get_world_size())
    norms[comm.get_rank()] = norm
    dist.all_reduce(norms)
    return torch.linalg.vector_norm(norms)


def finite_everywhere(flags: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Flags of finite tensors, which hold for the parts of all processes if any of the tensors is spread.

    Args:
        flags: (n,) bool, one for each tensor: whether the part of this process is finite.
        values: The n tensors.
    """
    if not any(isinstance(value, DTensor) for value in values):
        return flags
    agreed = flags.to(torch.int32)
    dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
    return agreed.bool()
