"""Measure each part of a dilated FCN with SGR, in a training step and in inference.

The backbone is a ResNet-101 with output stride 8. Pixels are random, and label maps have smooth regions, with about as
many classes as images of ADE20K. The part `targets` runs in the workers of the loader in a real training, at the same
time as the step. The cases `component` compare SGR alone with a plain implementation of its equations. Overrides change
the config, as in `dataset.crop=256` or `sgr.num_concepts=64`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from detectron2.config import instantiate
from torch.nn import functional as F

from reference import sgr as plain
from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random
from tokenseg.sgr import region_loss

from ._duel import Duel
from ._profile import Profile
from ._runs import inference, training_step

CONFIG = Path(__file__).resolve().parents[2] / "configs/sgr/fcn_sgr_resnet_101_ade20k_512_160k.py"


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Profile | Duel]]:
    return {
        "step parts": lambda: _profile(args, training=True),
        "inference parts": lambda: _profile(args, training=False),
        "component step": lambda: _component(args, training=True),
        "component inference": lambda: _component(args, training=False),
    }


def _labels(args: argparse.Namespace, side: int) -> torch.Tensor:
    """Draw label maps (N, H, W) of smooth regions: each pixel has the class whose blurred noise is largest there."""
    noise = torch.randn(args.batch, args.classes, side // 32, side // 32)
    return F.interpolate(noise, size=(side, side), mode="bicubic").argmax(dim=1)


def _profile(args: argparse.Namespace, *, training: bool) -> Profile:
    cfg = load_config(str(CONFIG), args.overrides)
    model = begin_random(instantiate(cfg.model)).to(args.device).train(training)
    side, component = cfg.dataset.crop, model.backbone.components["res5"]
    workers = SimpleNamespace(targets=instantiate(cfg.dataloader.train.mapper.label_targets)["components"])
    labels = _labels(args, side)
    images = torch.randint(0, 256, (args.batch, 3, side, side), dtype=torch.uint8)

    def step() -> torch.Tensor:
        records = [
            {"image": image, "sem_seg": label, "components": workers.targets(label.numpy())}
            for image, label in zip(images, labels, strict=True)
        ]
        return sum(model(records).values())

    parts = {
        "backbone": [model.backbone.backbone],
        "SGR: regions": [component.concepts],
        "SGR: tokens": [component.reduce, (component, "tokens")],
        "SGR: reasoning": [component.reason],
        "SGR: back": [component.back],
        "SGR: what joins these": [component],
        "head": [model.sem_seg_head],
    }
    if not training:
        pixels = torch.randn(args.batch, 3, side, side, device=args.device)
        return Profile(run=inference(lambda: model.sem_seg_head(model.backbone(pixels))), parts=parts)
    regions = model.extra_losses["regions"]
    parts |= {
        "auxiliary head": [model.extra_losses["auxiliary"]],
        "targets": [(workers, "targets")],
        "matching: costs": [(region_loss, "matching_costs")],
        "matching: assignment": [(region_loss, "match")],
        "losses": [regions],
    }
    return Profile(run=training_step(step, model.parameters()), parts=parts)


def _component(args: argparse.Namespace, *, training: bool) -> Duel:
    cfg = load_config(str(CONFIG), args.overrides)
    channels, side = cfg.pyramid.channels[3], cfg.dataset.crop // 8
    component = instantiate(cfg.model.backbone.components.res5).to(args.device)
    torch.nn.init.normal_(component.back.weight, std=0.01)  # it is initially zero, which would make gradients zero
    x = torch.randn(args.batch, channels, side, side, device=args.device)
    if not training:
        return Duel(
            ours=inference(lambda: list(component(x))),
            rival=inference(lambda: list(plain.semantic_reasoning(x, component))),
        )
    target = torch.randn_like(x)
    parameters = [*component.parameters(), x.requires_grad_()]
    return Duel(
        ours=training_step(lambda: (component(x)[0] * target).mean(), parameters),
        rival=training_step(lambda: (plain.semantic_reasoning(x, component)[0] * target).mean(), parameters),
    )
