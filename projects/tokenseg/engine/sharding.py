"""Training with weights, gradients and optimiser states sharded over all processes, by torch's `fully_shard`.

Each process holds a part (shard) of every parameter, as a `DTensor`. All weights of a block of the model are present in
a process only while the block runs, so the model may be larger than the memory of one GPU. The rest of the package sees
only ordinary tensors: checkpoints contain whole ones (`gathered`), and whatever a process runs on its own, such as an
evaluation, uses a `Replica`, which holds all weights during that time.
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
    """Refuse settings that exclude sharding.

    Args:
        settings: The section `train` of a config.
        processes: The number of processes of the run.

    Raises:
        ValueError: `train.shard` is true for one process, or together with a setting that it excludes.
    """
    if not settings.get("shard", False):
        return
    if processes == 1:
        raise ValueError("train.shard is true for a single process; wanted several (--num-gpus), or train.shard=false")
    wrong = [f"train.ddp.{name}" for name, value in settings.ddp.items() if value]
    if wrong:
        raise ValueError(
            f"train.shard is true together with {', '.join(wrong)}, which only DistributedDataParallel supports; "
            "wanted these false, or train.shard=false"
        )


def is_sharded(model: nn.Module) -> bool:
    """Return whether the weights of a model are sharded over processes."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, device: str) -> None:
    """Shard the weights of a model over all processes, in place, starting from the weights of the main process.

    The blocks that its parts name (`ShardsInBlocks`) are gathered one at a time when they run. The remaining weights
    are gathered for the whole step.

    Args:
        model: The model. Its weights may be on the CPU: they are moved to the device block by block, so that the device
            never holds all of them.
        device: The type of the device of the training, `cpu` or `cuda`.

    Raises:
        ValueError: A parameter has no dimension (a scalar), so it cannot be sharded.
    """
    single = [name for name, parameter in model.named_parameters() if not parameter.ndim]
    if single:
        raise ValueError(
            f"train.shard is true, but the model has parameters without a dimension, such as {single[0]}; wanted them "
            "with a dimension of size 1, or train.shard=false"
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
        "Sharded over %d processes: %.2f M parameters in %d blocks, at most %.2f M per block; each process gathers "
        "the other %.2f M for a whole step",
        comm.get_world_size(),
        sum(sizes) / 1e6,
        len(blocks),
        max(sizes, default=0) / 1e6,
        (whole - sum(sizes)) / 1e6,
    )


@torch.no_grad()
def _equalise(part: nn.Module, device: torch.device) -> None:
    """Move parameters and buffers that are not sharded yet to the device, with the values of the main process."""
    for value in [*part.parameters(), *part.buffers()]:
        if not isinstance(value, DTensor):
            value.data = value.data.to(device).contiguous()
            dist.broadcast(value.data, src=0)


class Replica:
    """A copy of a model that every process can run alone, because it holds whole weights while it is used.

    Between uses its parameters are empty and take no memory. It shares the buffers of the original model.
    """

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: The original model, before it is sharded.
        """
        # A deep copy takes the objects of this mapping instead of copying the parameters and buffers themselves.
        empty = {
            id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
            for parameter in model.parameters()
        }
        self._model = copy.deepcopy(model, empty | {id(buffer): buffer for buffer in model.buffers()})

    @contextmanager
    def holding(self, model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """Inside the block the replica holds whole weights. If they are sharded, all processes must enter it together.

        Args:
            model: The original model.
            weights: The weights to hold, by their names in the model, whole or sharded; by default the model's own.

        Yields:
            The replica, in the mode (training or evaluation) in which it was last left.
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
    """Return the shard of a tensor that this process holds, sharing its memory, or the tensor if it is not sharded."""
    return value.to_local() if isinstance(value, DTensor) else value


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(state: Any, *, keep: bool, known: dict[int, Tensor | None] | None = None) -> Any:
    """Replace the sharded tensors of a state dict by whole ones on the CPU.

    All processes must call this, with states that contain the same names in the same order.

    Args:
        state: A state dict: tensors and plain values in nested mappings and lists.
        keep: Whether this process keeps the whole tensors. If not, they are replaced by None, to save memory.
        known: The tensors gathered so far, by the `id` of the sharded ones, so that none is gathered twice. Recursive
            calls pass it on.

    Returns:
        The state dict in the same structure.
    """
    known = {} if known is None else known
    if isinstance(state, DTensor):
        if id(state) not in known:
            whole = cast(DTensor, state.detach()).full_tensor()
            known[id(state)] = whole.cpu() if keep else None
        return known[id(state)]
    if isinstance(state, Mapping):
        # A copy keeps the type, and the attribute in which the state of a module stores its versions.
        filled: Any = copy.copy(state)
        for name, value in state.items():
            filled[name] = gathered(value, keep=keep, known=known)
        return filled
    if isinstance(state, (list, tuple)):
        return type(state)(gathered(value, keep=keep, known=known) for value in state)
    return state


def spread_like(value: Tensor, like: Tensor) -> Tensor:
    """Shard a whole tensor in the same way as another tensor of the same shape, if that one is sharded.

    Args:
        value: The whole tensor, equal in all processes.
        like: The tensor whose sharding is adopted.
    """
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def spread_optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Shard the state of an optimiser from a checkpoint in the same way as the optimiser's parameters.

    Args:
        state: The state dict of an optimiser, with whole tensors.
        optimizer: The optimiser that will load it.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    # Not strict: if the numbers of parameters differ, the optimiser itself raises an error when it loads the state.
    by_number = dict(zip(numbers, parameters, strict=False))
    spread = {
        number: {
            name: spread_like(value, by_number[number]) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": spread}


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Compute the norm of all gradients together, equal in all processes, whether the gradients are sharded or not."""
    norm = nn.utils.get_total_norm([local(gradient) for gradient in gradients])
    if not any(isinstance(gradient, DTensor) for gradient in gradients):
        return norm
    # The processes exchange norms rather than sums of squares, which would overflow sooner.
    norms = norm.new_zeros(comm.get_world_size())
    norms[comm.get_rank()] = norm
    dist.all_reduce(norms)
    return torch.linalg.vector_norm(norms)


def finite_everywhere(flags: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Combine the flags of finite tensors over all processes, if any of the tensors is sharded.

    Args:
        flags: One flag per tensor, (n,) bool: whether the shard of this process is finite.
        values: The n tensors.

    Returns:
        One flag per tensor, (n,) bool: whether all of its shards are finite.
    """
    if not any(isinstance(value, DTensor) for value in values):
        return flags
    agreed = flags.to(torch.int32)
    dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
    return agreed.bool()
