"""Compare ECENet's head on Swin-B with a plain implementation of its equations, and measure each part of a training
step.

The input is one image of 640 x 640 pixels; its label map has twelve patches with one class each, about as many classes
as an image of ADE20K. `head` runs the head in float32 on random maps of the sizes of the backbone's stages. `profile`
is a training step of the whole model by part, in float32 or bfloat16. Dropout is off, so that outputs can be compared.
Overrides change the config, as in `dataset.crop=320`.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

import tokenseg.ecenet.head as head_file
from reference import ecenet as plain
from reference.weights import Weights
from tokenseg.config.load import load_config
from tokenseg.contracts import Targets
from tokenseg.engine.build import begin_random
from tokenseg.engine.precision import autocast

from ._duel import Duel
from ._profile import Profile
from ._runs import inference, training_step

CONFIG = Path(__file__).resolve().parents[2] / "configs/ecenet/ecenet_swin_b_ade20k_640_160k.py"
STRIDES = (4, 8, 16, 32)


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel | Profile]]:
    return {
        "head step": functools.partial(_head, args, "step"),
        "head inference": functools.partial(_head, args, "inference"),
        "profile fp32": functools.partial(_profile, args, None),
        "profile bf16": functools.partial(_profile, args, torch.bfloat16),
    }


def _config(args: argparse.Namespace) -> DictConfig:
    still = ["model.backbone.drop_path_rate=0.0", "model.sem_seg_head.dropout=0.0"]
    return load_config(str(CONFIG), [*still, *args.overrides])


def _labels(args: argparse.Namespace, cfg: DictConfig) -> Tensor:
    """Create label maps (N, crop, crop) of four by three patches."""
    side, count = cfg.dataset.crop, cfg.dataset.num_classes
    rows, columns = (torch.arange(side, device=args.device) * patches // side for patches in (4, 3))
    patches = rows[:, None] * 3 + columns
    return (patches * count // 12).expand(args.batch, -1, -1)


def _head(args: argparse.Namespace, mode: str) -> Duel:
    cfg = _config(args)
    head, labels = instantiate(cfg.model.sem_seg_head).to(args.device), _labels(args, cfg)
    sides = [cfg.dataset.crop // stride for stride in STRIDES]
    maps = [
        torch.randn(args.batch, channels, side, side, device=args.device)
        for channels, side in zip(cfg.model.sem_seg_head.channels, sides, strict=True)
    ]
    features, weights = dict(zip(head.in_features, maps, strict=True)), Weights.of(head)
    decode = functools.partial(plain.decode, maps, weights, num_heads=cfg.model.sem_seg_head.attention.num_heads)
    if mode == "inference":
        head.eval()
        return Duel(ours=inference(lambda: head(features)[0]), rival=inference(lambda: decode().scores))
    head.train()
    parameters = [*head.parameters(), *(x.requires_grad_() for x in maps)]
    return Duel(
        ours=training_step(lambda: sum(head(features, Targets.alone(head, labels))[1].values()), parameters),
        rival=training_step(lambda: plain.loss(decode(training=True), labels), parameters),
        gradient_tolerance=1e-3,
    )


def _profile(args: argparse.Namespace, dtype: torch.dtype | None) -> Profile:
    cfg = _config(args)
    backbone, head = (
        begin_random(instantiate(cfg.model[part])).to(args.device) for part in ("backbone", "sem_seg_head")
    )
    backbone.train(), head.train()
    labels = _labels(args, cfg)
    images = torch.randn(args.batch, 3, cfg.dataset.crop, cfg.dataset.crop, device=args.device)

    def loss() -> Tensor:
        with autocast(args.device, dtype):
            return sum(head(backbone(images), Targets.alone(head, labels))[1].values())

    step = training_step(loss, [*backbone.parameters(), *head.parameters()])
    return Profile(run=step, parts={"backbone": [backbone]} | _parts(head))


def _parts(head: nn.Module) -> dict[str, list]:
    return {
        "reconstruction": [*(head.reconstructions or [])],
        "to one width": [*head.unify],
        "first mask": [head.coarsest_mask],
        "semantics attention": [*head.attentions],
        "class extraction, update": [*head.extractions, *head.updaters, head.confidence],
        "ghost upscaling": [*head.upscales],
        "joint convolution": [head.fuse],
        "classification": [head.classify],
        "combined prediction": [(head_file, "combined_prediction")],
        "maps, masks resized": [(head_file, "resize")],
        "cross entropy": [(head_file, "pixel_cross_entropy")],
        "focal, dice": [head.mask_loss],
        "diversity loss": [(head_file, "diversity_loss")],
    }
