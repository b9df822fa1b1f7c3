"""Compare our models with whole models from `transformers` of similar size or accuracy, at the same image size.

Inference starts with normalised pixels and ends with the class of every pixel; the rivals use the post-processing of
`transformers`. A step is the forward and backward pass of a batch with random labels. The weights are random, and the
outputs are not compared, since the models are different ones. Parameters are in millions ("M"), and the multiply-adds
of matrix products, convolutions and attention in inference are in billions ("G"). With `--memory`, each model's peak is
measured in a process without the other model. The printed table is for projects/SPEED.md; `--json` prints all numbers.
"""

import argparse
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reference import rivals as reference
from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random
from tokenseg.engine.precision import autocast

from ._duel import in_turns
from ._runs import Clock, Run, inference, training_step

# Our config and the function of `reference.rivals` that builds the rival, by the title of the pair.
PAIRS: Mapping[str, tuple[str, Callable[[int, int], reference.RivalModel]]] = {
    "SegViT-B beside Mask2Former Swin-S": ("segvit_vit_b_ade20k_512_160k", reference.mask2former_swin_s),
    "SegViT-L beside EoMT-L": ("segvit_vit_l_ade20k_640_160k", reference.eomt_l),
    "Shrunk-L beside EoMT-L": ("segvit_shrunk_vit_l_ade20k_640_160k", reference.eomt_l),
    "ECENet beside UperNet Swin-B": ("ecenet_swin_b_ade20k_640_160k", reference.uper_net_swin_b),
    "PWE-B beside UperNet Swin-B": ("structtoken_pwe_vit_b_ade20k_512_160k", reference.uper_net_swin_b),
}
PATCHES = 4  # the number of patches along each side of a label map, each with one class


def cases(args: argparse.Namespace) -> dict[str, Callable[[], "Rivalry"]]:
    return {
        f"{title} {mode}": functools.partial(_rivalry, args, *pair, training=mode == "step")
        for title, pair in PAIRS.items()
        for mode in ("inference", "step")
    }


@dataclass(frozen=True, kw_only=True)
class Rivalry:
    """Two models for the same task, whose costs are compared.

    Attributes:
        ours: The function that runs one batch of our model.
        rival: The function that runs one batch of the rival.
        facts: Further columns of the row, which do not depend on time.
    """

    ours: Run
    rival: Run
    facts: Mapping[str, float]

    def measure(self, clock: Clock, rounds: int) -> list[dict]:
        """Return one row with the seconds of both sides, their ratio, and the facts."""
        for side in (self.ours, self.rival):
            side()  # a warm-up, since some things are only computed in the first run
        return [in_turns(clock, rounds, ours=self.ours, rival=self.rival) | dict(self.facts)]


@dataclass(frozen=True)
class _Side:
    """One of the two models.

    Attributes:
        run: The function that runs one batch, in inference or as a training step.
        infer: The function that runs one batch in inference.
        parameters: The number of parameters.
    """

    run: Run
    infer: Callable[[], object]
    parameters: int


def _rivalry(
    args: argparse.Namespace, config: str, build: Callable[[int, int], reference.RivalModel], *, training: bool
) -> Rivalry:
    num_classes = _config(args, config).dataset.num_classes
    grey = torch.randint(0, 256, (args.batch, 3, args.size, args.size), device=args.device)
    labels = _labels(args, num_classes)
    if args.peak_of:  # the other model must not be in memory
        make = (
            functools.partial(_ours, args, config) if args.peak_of == "ours" else functools.partial(_rival, args, build)
        )
        run = make(grey, labels, num_classes, training=training).run
        return Rivalry(ours=run, rival=run, facts={})
    ours = _ours(args, config, grey, labels, num_classes, training=training)
    rival = _rival(args, build, grey, labels, num_classes, training=training)
    facts = {"ours M": ours.parameters / 1e6, "rival M": rival.parameters / 1e6}
    if not training:
        facts |= {"ours G": _multiply_adds(ours, args.batch), "rival G": _multiply_adds(rival, args.batch)}
    return Rivalry(ours=ours.run, rival=rival.run, facts=facts)


def _ours(
    args: argparse.Namespace, config: str, grey: Tensor, labels: Tensor, num_classes: int, *, training: bool
) -> _Side:
    cfg = _config(args, config)
    cfg.model.inference = None  # the whole image in one pass, as the rivals do
    model = _in_mode(args, begin_random(instantiate(cfg.model)), training=training)
    inputs = [{"image": image, "sem_seg": label} for image, label in zip(grey, labels, strict=True)]
    precision = functools.partial(autocast, args.device, torch.bfloat16 if args.amp else None)
    infer, loss = lambda: model.class_ids(inputs), lambda: sum(model(inputs).values())
    return _side(model, infer, loss, precision, training=training)


def _rival(
    args: argparse.Namespace,
    build: Callable[[int, int], reference.RivalModel],
    grey: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    training: bool,
) -> _Side:
    rival = build(num_classes, args.size)
    if training and args.batch < rival.least_batch:
        raise ValueError(f"--batch is {args.batch}; a step of this rival needs {rival.least_batch} images or more")
    model, images = _in_mode(args, rival.model, training=training), (grey - 127.5) / 58.0
    # Not our `autocast`, which also replaces attention on some CPUs.
    precision = functools.partial(torch.autocast, args.device.type, dtype=torch.bfloat16, enabled=args.amp)
    infer, loss = lambda: rival.infer(images), lambda: rival.loss(images, labels)
    return _side(model, infer, loss, precision, training=training)


def _in_mode(args: argparse.Namespace, model: nn.Module, *, training: bool) -> nn.Module:
    # Parameters require no gradients in inference, since the counter of operations would build a graph for them.
    return model.to(args.device).train(training).requires_grad_(training)


def _side(
    model: nn.Module,
    infer: Callable[[], object],
    loss: Callable[[], Tensor],
    precision: Callable[[], AbstractContextManager],
    *,
    training: bool,
) -> _Side:
    if training:
        run = training_step(_inside(precision, loss), model.parameters())
    else:
        run = inference(_inside(precision, infer))
    return _Side(run, infer, sum(parameter.numel() for parameter in model.parameters()))


def _config(args: argparse.Namespace, name: str) -> DictConfig:
    return load_config(name, [f"dataset.crop={args.size}", *args.overrides])


def _labels(args: argparse.Namespace, num_classes: int) -> Tensor:
    """Draw label maps (N, size, size) of square patches."""
    patches = torch.randint(0, num_classes, (args.batch, PATCHES, PATCHES), device=args.device)
    place = torch.arange(args.size, device=args.device) * PATCHES // args.size
    return patches[:, place[:, None], place]


def _inside(context: Callable[[], AbstractContextManager], run: Callable[[], object]) -> Callable[[], object]:
    def inside() -> object:
        with context():
            return run()

    return inside


@torch.no_grad()
def _multiply_adds(side: _Side, images: int) -> float:
    """Count the billions of multiply-adds per image; torch counts two operations for each of them."""
    with FlopCounterMode(display=False) as counter:
        side.infer()
    return counter.get_total_flops() / 2e9 / images


def table(rows: list[dict]) -> list[dict]:
    """Convert the rows to those of a page, with our number and the rival's in each cell, and ratios."""
    return [
        {
            "ours beside the rival": row["case"],
            "seconds": _both(row, "s"),
            "rival over ours (least to most)": "{times faster:.2f} ({least:.2f} to {most:.2f})".format_map(row),
            "peak MiB": _both(row, "MiB"),
            "ours over the rival": f"{row['memory']:.2f}" if "memory" in row else "-",
            "parameters, M": _both(row, "M"),
            "multiply-adds, G": _both(row, "G"),
        }
        for row in rows
    ]


def _both(row: dict, unit: str) -> str:
    """Return our number and the rival's with three digits, or a dash if they were not measured."""
    sides = [row.get(f"{side} {unit}") for side in ("ours", "rival")]
    return "-" if None in sides else " / ".join(f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in sides)
