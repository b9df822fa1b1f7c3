"""The training step of each method for benchmarks, with its config and a batch of random images with labels."""

import argparse
from collections.abc import Callable, Mapping

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from timm.layers import DropPath
from torch import Tensor, nn

from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random
from tokenseg.engine.precision import autocast
from tokenseg.segmentor import Segmentor

# The config of each method, by its name in the titles of cases.
CONFIGS = {
    "structtoken-cse": "structtoken_cse_vit_b_ade20k_512_160k",
    "structtoken-sse": "structtoken_sse_vit_b_ade20k_512_160k",
    "structtoken-pwe": "structtoken_pwe_vit_b_ade20k_512_160k",
    "segvit": "segvit_vit_b_ade20k_512_160k",
    "segvit-shrunk": "segvit_shrunk_vit_b_ade20k_512_160k",
    "ecenet": "ecenet_swin_b_ade20k_640_160k",
    "fcn-sgr": "fcn_sgr_resnet_101_ade20k_512_160k",
    "deeplab-v3-sgr": "deeplab_v3_sgr_resnet_101_ade20k_512_160k",
    "uper-net-sgr": "uper_net_sgr_swin_t_ade20k_512_160k",
    "mask-former-sgr": "mask_former_sgr_resnet_101c_coco_stuff_10k_512_60k",
    "mask2former-sgr": "mask2former_sgr_swin_t_coco_stuff_10k_512_60k",
}
_PATCHES = 4  # the number of patches along each side of a label map, each with one class


def built(args: argparse.Namespace, name: str) -> tuple[Segmentor, Callable[..., Tensor]]:
    """Build the model of a method in training mode, without dropout and stochastic depth.

    Args:
        args: The arguments of the command; `size` is the crop, and `batch` the number of images.
        name: A key of `CONFIGS`.

    Returns:
        The model, and a function that computes the loss of a model for one batch, which is the same in every call. Its
        argument `amp` says whether to use mixed precision, by default as `--amp` says.
    """
    cfg = load_config(CONFIGS[name], [f"dataset.crop={args.size}", *args.overrides])
    cfg.model.inference = None  # the windows of its policy may be larger than the crop
    model = begin_random(instantiate(cfg.model)).to(args.device).train()
    without_dropout(model)
    inputs = samples(cfg, args.batch, (args.size, args.size))

    def loss(model: Segmentor, amp: bool = args.amp) -> Tensor:
        with autocast(args.device, torch.bfloat16 if amp else None):
            return sum(model(inputs).values())

    return model, loss


def samples(cfg: DictConfig, count: int, size: tuple[int, int]) -> list[dict]:
    """Create `count` images of random pixels, with label maps of square patches and the targets of the config's mapper.

    Each patch has one class.
    """
    targets = instantiate(cfg.dataloader.train.mapper.get("label_targets")) or {}
    return [_sample(cfg.dataset.num_classes, *size, targets) for _ in range(count)]


def _sample(num_classes: int, height: int, width: int, label_targets: Mapping[str, Callable | None]) -> dict:
    patches = torch.randint(0, num_classes, (_PATCHES, _PATCHES))
    label = patches[torch.arange(height)[:, None] * _PATCHES // height, torch.arange(width) * _PATCHES // width]
    sample = {"image": torch.randint(0, 256, (3, height, width), dtype=torch.uint8), "sem_seg": label}
    return sample | {key: make(label.numpy()) for key, make in label_targets.items() if make is not None}


def without_dropout(model: nn.Module) -> None:
    """Turn off dropout and stochastic depth in all parts of a model."""
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
