"""Compare the operations that we compute in another way than torch with torch's own.

`attention` is our attention from matrix products in bfloat16, for twelve heads of 64 channels and as many tokens as the
title says. The losses and the softmax are in single precision, for one map of channels-last scores with as many classes
as the title says. `cross_entropy` is the forward and backward pass, beside torch's on the rows of pixels.
"""

import argparse
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F

from tokenseg.contracts import Targets
from tokenseg.inference.cpu_attention import attention_by_products
from tokenseg.layers.memory_order import channels_last, class_softmax
from tokenseg.losses.pixel import pixel_cross_entropy

from ._duel import Duel
from ._runs import inference, training_step

_IGNORED = 255


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
    if args.overrides:
        raise ValueError(f"operations has no config for {' '.join(args.overrides)}; wanted --size")
    parts = {_attention: (1024, 2560), _cross_entropy: (2, 12), _class_softmax: (150,)}
    return {
        f"{part.__name__[1:]} {count}": functools.partial(part, args, count)
        for part, counts in parts.items()
        for count in counts
    }


def _attention(args: argparse.Namespace, tokens: int) -> Duel:
    inputs = [torch.randn(1, 12, tokens, 64, device=args.device, dtype=torch.bfloat16) for _ in range(3)]
    return Duel(
        ours=inference(lambda: attention_by_products(*inputs)),
        rival=inference(lambda: F.scaled_dot_product_attention(*inputs)),
        tolerance=1e-2,  # ours rounds the similarities to bfloat16
    )


def _cross_entropy(args: argparse.Namespace, classes: int) -> Duel:
    scores = channels_last(torch.randn(1, classes, args.size, args.size, device=args.device)).requires_grad_()
    labels = torch.randint(0, classes, (1, args.size, args.size), device=args.device)
    targets = Targets(labels=labels, counts={"pixels": torch.tensor(float(labels.numel()), device=args.device)})
    return Duel(
        ours=training_step(lambda: pixel_cross_entropy(scores, targets, ignore_value=_IGNORED), [scores]),
        rival=training_step(
            lambda: F.cross_entropy(scores.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()), [scores]
        ),
    )


def _class_softmax(args: argparse.Namespace, classes: int) -> Duel:
    scores = channels_last(torch.randn(1, classes, args.size, args.size, device=args.device))
    return Duel(ours=inference(lambda: class_softmax(scores)), rival=inference(lambda: scores.softmax(dim=1)))
