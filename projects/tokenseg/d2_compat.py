"""Whatever differs between Detectron2's versions (PyPI's 0.5 and main) and is used stands here, with the reason.

What differs and is therefore not used anywhere: `layers.cross_entropy` (0.5 drops `reduction`), `FixedSizeCrop` (0.5
pads labels with a class), `AMPTrainer` (CUDA only; other arguments), the metrics of `SemSegEvaluator` (another mIoU,
boundaries on main), `build_detection_*_loader` (0.5 has no batch size in tests), `hooks.BestCheckpointer` (not in
0.5), `get_default_optimizer_params` (other groups, so that optimiser states do not fit), `model_zoo` (fails with new
setuptools on main). `iter(loader)` is taken in the trainer's constructor by 0.5 and at the first step by main:
`TrainLoader` starts nothing before its first batch is asked for.
"""

import functools
from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.engine.defaults import create_ddp_model
from detectron2.modeling import Backbone
from detectron2.structures import ImageList
from detectron2.utils import comm
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def pad_to_batch(tensors: list[Tensor], backbone: Backbone, value: float = 0.0) -> tuple[Tensor, list[tuple[int, int]]]:
    """Stack tensors of different size, padded at the bottom and the right to what the backbone takes.

    Main's ViT and Swin ask for square inputs by `padding_constraints`, an attribute and an argument that 0.5 lacks.

    Args:
        tensors: (..., h, w) each.
        backbone: Says `size_divisibility`.
        value: The value that fills the padding.

    Returns:
        (N, ..., H, W), and (h, w) of each tensor.
    """
    constraints = getattr(backbone, "padding_constraints", None)
    arguments = {"padding_constraints": constraints} if constraints else {}
    batch = ImageList.from_tensors(tensors, backbone.size_divisibility, value, **arguments)
    return batch.tensor, [(int(height), int(width)) for height, width in batch.image_sizes]


def refuse_yacs(init: Callable[..., None]) -> Callable[..., None]:
    """Decorate the constructor of a registered class, so that Detectron2's builders, which call it with a yacs config,
    end in one sentence instead of a TypeError."""

    @functools.wraps(init)
    def checked(self: object, *args: object, **kwargs: object) -> None:
        if any(isinstance(value, CfgNode) for value in (*args, *kwargs.values())):
            raise ValueError(
                f"{type(self).__name__} cannot be built from a yacs config, which does not hold its parts; wanted a "
                "LazyConfig, such as those in TokenSeg's configs/, with train_net.py or detectron2.config.instantiate"
            )
        init(self, *args, **kwargs)

    return checked


def distribute(model: nn.Module, **ddp_options: object) -> nn.Module:
    """The model as DistributedDataParallel where there are several processes.

    Both versions pass the local rank as device, which torch refuses for a model on the CPU, and which is wrong where
    each process sees its own GPU alone.
    """
    device = next(model.parameters()).device
    ddp_options["device_ids"] = None if device.type == "cpu" else [device]
    return create_ddp_model(model, **ddp_options)


def make_local_groups(size: int) -> None:
    """Group the processes of each machine, as Detectron2's `launch` does for those that it has started itself.

    Main has a function for that; in 0.5 only `launch` does it, and sets the variable.

    Args:
        size: The number of processes of each machine.
    """
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(size)
        return
    for first in range(0, comm.get_world_size(), size):
        ranks = range(first, first + size)
        group = distributed.new_group(list(ranks))
        if comm.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def undistributed(model: nn.Module) -> nn.Module:
    """The model inside `distribute`'s."""
    return model.module if isinstance(model, DistributedDataParallel) else model
