"""Compare a training step of each method with `train.compile` and without it.

A step is the forward and backward pass of a batch at `--size`, in single precision or, with `--amp`, in mixed
precision. Losses and gradients of both sides are compared, so dropout and stochastic depth are off. The time of the
compilation is not included; it takes minutes on a CPU. Overrides change the configs of the chosen cases, as in
`--only structtoken-pwe model.backbone.timm_args.depth=2 vit.last_block=1`.
"""

import argparse
import copy
import functools
from collections.abc import Callable

import torch

from tokenseg.engine.build import compile_parts

from ._duel import Duel
from ._methods import CONFIGS, built
from ._runs import training_step


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
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
        gradient_tolerance=0.5 if args.amp else 1e-2,
    )
