"""Compare the direct computation of a `Predictor`'s class ids with that through the scores of all classes.

The input is one image of 1024 x 768 pixels; there are 150 classes, and the precision is mixed (bfloat16). The scores of
SegViT-B are sums over tokens of a probability times a mask; those of StructToken (PWE, ViT-B) are logits. The weights
of `trained` imitate trained ones: ten classes occur in the image, and masks have clear borders. The weights of `random`
are initial ones, with which only few classes can be excluded early. A case fails unless the ids of both sides are equal
at every pixel. Overrides change the configs.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from detectron2.config import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random
from tokenseg.predictor import Predictor
from tokenseg.segmentor import Segmentor, most_likely

from ._duel import Duel

CONFIGS = {"segvit": "segvit_vit_b_ade20k_512_160k", "structtoken": "structtoken_pwe_vit_b_ade20k_512_160k"}


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
    return {
        f"{method} {weights}": functools.partial(_duel, args, method, trained=weights == "trained")
        for method in CONFIGS
        for weights in ("trained", "random")
    }


def _duel(args: argparse.Namespace, method: str, *, trained: bool) -> Duel:
    amp = f"train.amp.enabled={str(not args.single).lower()}"
    cfg = load_config(CONFIGS[method], [f"train.device={args.device}", amp, *args.overrides])
    image = _picture(*args.size)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save({"model": begin_random(instantiate(cfg.model)).state_dict()}, weights)
        predictor = Predictor(cfg, weights)
    if trained:
        present = torch.randperm(cfg.dataset.num_classes)[: args.classes]
        {"segvit": _trained_segvit, "structtoken": _trained_structtoken}[method](predictor, image, present)
    return Duel(
        ours=lambda: torch.from_numpy(predictor.class_ids(image)),
        rival=lambda: most_likely(predictor.scores(image)).cpu(),
        tolerance=0.0,
    )


def _picture(height: int, width: int) -> np.ndarray:
    """Draw an image (height, width, 3) uint8 of large coloured spots with a little noise."""
    spots = torch.randint(0, 256, (1, 3, -(-height // 64), -(-width // 64))).float()
    pixels = F.interpolate(spots, size=(height, width), mode="bilinear")[0] + 8 * torch.randn(3, height, width)
    return pixels.clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def _inputs_of(module: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """Run a function and return the inputs of a module during this run."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float()))
    run()
    handle.remove()
    return seen


@torch.no_grad()
def _trained_segvit(predictor: Predictor, image: np.ndarray, present: Tensor) -> None:
    """Set the weights so that masks are far from one half, and every token predicts its class if the class is present
    in the image, and 'no object' otherwise, with a high probability."""
    head = _segmentor(predictor).sem_seg_head
    for level in head.levels:
        level[-1].cross_attention.query.weight.mul_(30)
    tokens = _inputs_of(head.classify, lambda: predictor.class_ids(image))[len(head.levels) - 1][0]
    wanted = torch.zeros(len(tokens), len(tokens) + 1, device=tokens.device)
    wanted[:, :-1].fill_diagonal_(1.0)
    wanted[:, -1] = 7.0
    wanted[present, -1], wanted[present, present] = 0.0, 7.0
    head.classify.weight.copy_(torch.linalg.lstsq(tokens, wanted).solution.T)
    head.classify.bias.zero_()


@torch.no_grad()
def _trained_structtoken(predictor: Predictor, image: np.ndarray, present: Tensor) -> None:
    """Set the weights so that the logits of the present classes exceed all others by several standard deviations."""
    head = _segmentor(predictor).sem_seg_head
    before = _inputs_of(head.refine, lambda: predictor.class_ids(image))[0]
    last = head.refine.layers[-1]
    last.bias[present] += 10 * head.refine(before).std()


def _segmentor(predictor: Predictor) -> Segmentor:
    return predictor.model
