"""Compare StructToken's head and whole model with a plain implementation of its equations.

`head` runs the head in float32 on a random map with the size of a ViT-B for a crop of 512 pixels, by default for two
images. `model bf16` runs our whole model in bfloat16 with fused attention (mixed precision in steps, bfloat16 weights
in inference); the rival runs in float32 and computes attention as matrix products. Stochastic depth is off, so that
outputs can be compared. Overrides change the configs, as in `dataset.crop=256`.
"""

import argparse
import copy
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor

from reference import structtoken as plain
from reference.backbone import with_plain_attention
from reference.weights import Weights
from tokenseg.config.load import load_config
from tokenseg.contracts import Targets
from tokenseg.engine.build import begin_random
from tokenseg.engine.precision import autocast

from ._duel import Duel
from ._runs import inference, training_step

CONFIGS = Path(__file__).resolve().parents[2] / "configs/structtoken"


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
    return {
        f"{variant} {part} {mode}": functools.partial(duel, args, variant, mode)
        for part, duel in (("head", _head), ("model bf16", _model))
        for variant in plain.VARIANTS
        for mode in ("step", "inference")
    }


def _config(args: argparse.Namespace, variant: str) -> DictConfig:
    still = ["model.backbone.drop_path_rate=0.0", "model.sem_seg_head.blocks.drop_path=0.0"]
    path = CONFIGS / f"structtoken_{variant}_vit_b_ade20k_512_160k.py"
    return load_config(str(path), [*still, *args.overrides])


def _labels(args: argparse.Namespace, cfg: DictConfig) -> Tensor:
    side = cfg.dataset.crop
    return torch.randint(0, cfg.dataset.num_classes, (args.batch, side, side), device=args.device)


def _head(args: argparse.Namespace, variant: str, mode: str) -> Duel:
    cfg = _config(args, variant)
    head = instantiate(cfg.model.sem_seg_head).to(args.device)
    side = cfg.dataset.crop // cfg.vit.patch_size
    feature_map, weights = torch.randn(args.batch, cfg.vit.channels, side, side, device=args.device), Weights.of(head)
    features = {head.in_feature: feature_map}
    if mode == "inference":
        head.eval()
        return Duel(
            ours=inference(lambda: head(features)[0]),
            rival=inference(lambda: plain.decode(feature_map, weights, variant)),
        )
    labels, parameters = _labels(args, cfg), [*head.parameters(), feature_map.requires_grad_()]
    head.train()
    return Duel(
        ours=training_step(lambda: head(features, Targets.alone(head, labels))[1]["loss_sem_seg"], parameters),
        rival=training_step(lambda: plain.loss(plain.decode(feature_map, weights, variant), labels), parameters),
    )


def _model(args: argparse.Namespace, variant: str, mode: str) -> Duel:
    cfg = _config(args, variant)
    model = begin_random(instantiate(cfg.model)).to(args.device)
    backbone = with_plain_attention(model.backbone)
    head, weights = model.sem_seg_head, Weights.of(model.sem_seg_head)
    labels = _labels(args, cfg)
    images = torch.randn(args.batch, 3, *labels.shape[1:], device=args.device)

    def rival() -> Tensor:
        return plain.decode(backbone(images)[head.in_feature], weights, variant)

    if mode == "inference":
        model.eval(), backbone.eval()
        small, small_images = copy.deepcopy(model).bfloat16(), images.bfloat16()
        seen_by = small.backbone if args.attention == "fused" else with_plain_attention(small.backbone)
        ours = inference(lambda: small.sem_seg_head(seen_by(small_images))[0])
        return Duel(ours=ours, rival=inference(rival), tolerance=0.1)

    def loss() -> Tensor:
        with autocast(args.device, torch.bfloat16):
            return head(model.backbone(images), Targets.alone(head, labels))[1]["loss_sem_seg"]

    model.train(), backbone.train()
    parameters = list(model.parameters())
    return Duel(
        ours=training_step(loss, parameters),
        rival=training_step(lambda: plain.loss(rival(), labels), parameters),
        tolerance=0.1,
        # With random weights, the bfloat16 gradients of SSE are this far from float32 in the plain implementation too.
        gradient_tolerance=1.0,
    )
