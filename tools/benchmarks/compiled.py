"""Compare a training step of each method with `train.compile` and without it.

A step is the forward and backward pass of a batch at `--size`, in single precision or, with `--amp`, in mixed
precision. Losses and gradients of both sides are compared, so dropout and stochastic depth are off. In mixed precision,
gradients may differ by twice as much as those without the compiler differ from single precision. The time of the
compilation is not included; it takes minutes on a CPU. Overrides change the configs of the chosen cases, as in
`--only structtoken-pwe model.backbone.timm_args.depth=2 vit.last_block=1`.
"""

import argparse
import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from tokenseg.engine.build import compile_parts
from tokenseg.segmentor import Segmentor

from ._duel import Duel, differences
from ._methods import CONFIGS, built
from ._runs import GRADIENTS, training_step


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
    known = torch.compiler.list_backends(exclude_tags=None)
    if args.backend not in known:
        raise ValueError(f"--backend is {args.backend}; wanted one of {', '.join(known)}")
    return {name: functools.partial(_duel, args, name) for name in CONFIGS}


def _duel(args: argparse.Namespace, name: str) -> Duel:
    eager, loss = built(args, name)
    compiled = copy.deepcopy(eager)
    torch.compiler.reset()  # otherwise the graphs of other cases would count towards the limit of recompilations
    compile_parts(compiled, backend=args.backend)
    return Duel(
        ours=training_step(lambda: loss(compiled), compiled.parameters()),
        rival=training_step(lambda: loss(eager), eager.parameters()),
        tolerance=5e-2 if args.amp else 1e-4,
        gradient_tolerance=2 * _rounding(eager, loss) if args.amp else 1e-2,
    )


def _rounding(model: Segmentor, loss: Callable[..., Tensor]) -> float:
    """Compute by which share of their norm the gradients of mixed and of single precision differ."""
    mixed, single = (training_step(functools.partial(loss, model, amp), model.parameters())() for amp in (True, False))
    return next(difference for difference, where in differences(mixed, single) if where == GRADIENTS)
