"""Conversion of a model's batch norms to another kind."""

from typing import Any, TypeVar, cast

import torch.distributed as dist
from detectron2.layers import NaiveSyncBatchNorm
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from ..layers.single_precision import at_least_single

KINDS = ("BN", "SyncBN", "FrozenBN")
_Model = TypeVar("_Model", bound=nn.Module)


def convert_batch_norm(model: _Model, kind: str) -> _Model:
    """Convert the batch norms of a model to another kind; weights, statistics and their names are kept.

    Args:
        model: The model, which is modified; use the returned model.
        kind: `BN` for no change; `SyncBN` for statistics over all processes, which must already have been initialised
            on the CPU; or `FrozenBN` for fixed statistics without parameters.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"norm is '{kind}'; wanted one of {', '.join(KINDS)}")
    if kind == "FrozenBN":
        return cast(_Model, _keep_type(freeze_batch_norm_2d(model)))
    if kind == "SyncBN":
        # torch's own SyncBatchNorm does not support the CPU, where several processes communicate by gloo.
        on_cpu = dist.is_initialized() and dist.get_backend() == "gloo"
        return cast(_Model, _synchronise_on_cpu(model) if on_cpu else convert_sync_batchnorm(model))
    return model


class _FrozenBatchNorm(FrozenBatchNorm2d):
    """A frozen batch norm whose output has the data type of its input.

    torchvision's version returns single precision even under autocast, so freezing would increase the training memory.
    """

    def forward(self, features: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        scale, shift = (numbers.to(features.dtype).reshape(1, -1, 1, 1) for numbers in (scale, shift))
        return features * scale + shift  # (N, C, H, W)


def _keep_type(module: Any) -> nn.Module:
    if type(module) is FrozenBatchNorm2d:
        frozen = _FrozenBatchNorm(len(module.weight), module.eps)
        for name, numbers in module.named_buffers():
            setattr(frozen, name, numbers)
        return frozen
    for name, child in module.named_children():
        module.add_module(name, _keep_type(child))
    return module


class _CpuSyncBatchNorm(NaiveSyncBatchNorm):
    def forward(self, features: Tensor) -> Tensor:
        # Statistics of (N, C, H, W) are computed in single precision, since bfloat16 would lose the variance.
        return super().forward(at_least_single(features)).to(features.dtype)


def _synchronise_on_cpu(module: nn.Module) -> nn.Module:
    if type(module) is nn.BatchNorm2d:
        synchronised = _CpuSyncBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        synchronised.load_state_dict(module.state_dict())
        return synchronised
    for name, child in module.named_children():
        module.add_module(name, _synchronise_on_cpu(child))
    return module
