"""The differences between Detectron2's versions (0.5 on PyPI, and main), each handled here with its reason.

Some parts differ so much that this package does not use them at all: `layers.cross_entropy` (0.5 ignores `reduction`),
`FixedSizeCrop` (0.5 pads labels with a class), `AMPTrainer` (CUDA only; the arguments differ), the metrics of
`SemSegEvaluator` (main defines mIoU differently and adds boundaries), `build_detection_*_loader` (0.5 has no batch size
for tests), `hooks.BestCheckpointer` (missing in 0.5), `get_default_optimizer_params` (the groups differ, so optimiser
states would not fit), and `model_zoo` (main's fails with new versions of setuptools).

0.5 calls `iter(loader)` in the constructor of the trainer, main at the first step. `TrainLoader` therefore starts
nothing before its first batch is requested.
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
    """Stack tensors of different sizes, padded at the bottom and the right to a size that the backbone accepts.

    Main's ViT and Swin request square inputs by `padding_constraints`, which 0.5 lacks both as an attribute and as an
    argument.

    Args:
        tensors: The tensors, (..., h, w) each.
        backbone: The backbone; sizes are padded to multiples of its `size_divisibility`.
        value: The value that fills the padding.

    Returns:
        The batch (N, ..., H, W), and the (h, w) of each tensor in it.
    """
    constraints = getattr(backbone, "padding_constraints", None)
    arguments = {"padding_constraints": constraints} if constraints else {}
    batch = ImageList.from_tensors(tensors, backbone.size_divisibility, value, **arguments)
    return batch.tensor, [(int(height), int(width)) for height, width in batch.image_sizes]


def refuse_yacs(init: Callable[..., None]) -> Callable[..., None]:
    """Decorate the constructor of a registered class to raise a clear error for a yacs config.

    Detectron2's builders call registered classes with such a config, which would otherwise end in a TypeError.
    """

    @functools.wraps(init)
    def checked(self: object, *args: object, **kwargs: object) -> None:
        if any(isinstance(value, CfgNode) for value in (*args, *kwargs.values())):
            raise ValueError(
                f"{type(self).__name__} cannot be built from a yacs config, which does not describe its parts; wanted "
                "a LazyConfig, such as those in TokenSeg's configs/, for train_net.py or detectron2.config.instantiate"
            )
        init(self, *args, **kwargs)

    return checked


def distribute(model: nn.Module, **ddp_options: object) -> nn.Module:
    """Wrap a model in DistributedDataParallel if there are several processes.

    By default both versions pass the local rank as device. Torch refuses this for a model on the CPU, and it is the
    wrong index if each process sees only its own GPU.

    Args:
        model: The model, on its device.
        ddp_options: Extra keyword arguments for DistributedDataParallel.
    """
    device = next(model.parameters()).device
    ddp_options["device_ids"] = None if device.type == "cpu" else [device]
    return create_ddp_model(model, **ddp_options)


def make_local_groups(size: int) -> None:
    """Create a process group for each machine, as Detectron2's `launch` does for processes that it starts itself.

    Main has a function for this. In 0.5 only `launch` does it, by setting a private variable.

    Args:
        size: The number of processes on each machine.
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
    """Return the model that `distribute` has wrapped, or the model itself if it is not wrapped."""
    return model.module if isinstance(model, DistributedDataParallel) else model
