"""Compare SegViT, plain and Shrunk, with a plain implementation of its equations.

`head` runs the head in float32 on random maps with the sizes of a ViT-B for a crop of 512 pixels, by default for two
images, whose label maps have ten classes in squares, about as many as a crop of ADE20K. `model` runs backbone and head;
the rival's backbone computes attention as matrix products. Dropout and stochastic depth are off, so that outputs can be
compared. Overrides change the configs, as in `dataset.crop=256`.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from reference import segvit as plain
from reference.backbone import with_plain_attention
from reference.weights import Weights
from tokenseg.config.load import load_config
from tokenseg.contracts import Targets
from tokenseg.engine.build import begin_random

from ._duel import Duel
from ._runs import inference, training_step

CONFIGS = Path(__file__).resolve().parents[2] / "configs/segvit"
STILL = ["model.backbone.drop_path_rate=0.0", "model.sem_seg_head.dropout=0.0"]


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
    return {
        f"{variant} {part} {mode}": functools.partial(_duel, args, variant, part, mode)
        for variant in ("plain", "shrunk")
        for part in ("head", "model")
        for mode in ("step", "inference")
    }


def _config(args: argparse.Namespace, variant: str) -> DictConfig:
    name = {"plain": "segvit_vit_b", "shrunk": "segvit_shrunk_vit_b"}[variant]
    still = STILL + (["model.sem_seg_head.bases.bases.dropout=0.0"] if variant == "shrunk" else [])
    return load_config(str(CONFIGS / f"{name}_ade20k_512_160k.py"), [*still, *args.overrides])


def _labels(args: argparse.Namespace, cfg: DictConfig) -> Tensor:
    """Create label maps (N, crop, crop) of 8 x 8 squares, with classes that are drawn for each image."""
    classes = [torch.randperm(cfg.dataset.num_classes)[: args.classes] for _ in range(args.batch)]
    squares = torch.stack([each[torch.arange(64).view(8, 8) % len(each)] for each in classes])
    side = -(-cfg.dataset.crop // 8)
    labels = squares.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return labels[:, : cfg.dataset.crop, : cfg.dataset.crop].to(args.device)


def _features(args: argparse.Namespace, cfg: DictConfig, backbone: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.randn(args.batch, spec.channels, *[-(-cfg.dataset.crop // spec.stride)] * 2, device=args.device)
        for name, spec in backbone.output_shape().items()
    }


def _levels(features: dict[str, Tensor], head: nn.Module, cfg: DictConfig) -> list[tuple[Tensor, Tensor]]:
    """Run the plain implementation with the weights of a head."""
    weights, num_heads, shrunk = Weights.of(head), cfg.decoder.num_heads, not head.sum_masks
    names = sorted(features, key=lambda name: int(name.removeprefix("block")))
    grid = features[names[0]].shape[-2:]
    if shrunk:
        low, last = (features[name] for name in names)
        maps = [plain.query_upsample(low, last, weights / "bases.bases", num_heads)] * 3
    else:
        maps = [
            plain.linear_base(features[name], weights / "bases.project" / place)
            for place, name in enumerate(reversed(names))
        ]
    num_layers = len(head.levels[0])
    return plain.decode(maps, grid, weights, num_heads=num_heads, num_layers=num_layers, summed=not shrunk)


def _duel(args: argparse.Namespace, variant: str, part: str, mode: str) -> Duel:
    cfg = _config(args, variant)
    model = begin_random(instantiate(cfg.model)).to(args.device)
    head, labels, crop = model.sem_seg_head, _labels(args, cfg), cfg.dataset.crop
    if part == "head":
        inputs = _features(args, cfg, model.backbone)
        ours = rival = dict
        leaves = [x.requires_grad_(mode == "step") for x in inputs.values()]
        parameters = [*head.parameters(), *leaves]
    else:
        inputs = torch.randn(args.batch, 3, crop, crop, device=args.device)
        ours, rival = model.backbone, with_plain_attention(model.backbone)
        parameters = list(model.parameters())
    if mode == "inference":
        model.eval()
        return Duel(
            ours=inference(lambda: head(ours(inputs))[0]),
            rival=inference(lambda: _scores(_levels(rival(inputs), head, cfg), crop)),
        )
    model.train()
    return Duel(
        ours=training_step(lambda: sum(head(ours(inputs), Targets.alone(head, labels))[1].values()), parameters),
        rival=training_step(lambda: sum(plain.loss(_levels(rival(inputs), head, cfg), labels).values()), parameters),
    )


def _scores(levels: list[tuple[Tensor, Tensor]], crop: int) -> Tensor:
    masks, logits = levels[-1]
    return plain.scores(plain.upsample(masks, (crop, crop)), logits)
