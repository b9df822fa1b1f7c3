"""Compare our models with whole models from `transformers` of similar size or accuracy, at the same image size.

Inference starts with normalised pixels and ends with the class of every pixel; the rivals use the post-processing of
`transformers`. A step is the forward and backward pass of a batch with random labels. The weights are random, and the
outputs are not compared, since the models are different ones. Parameters are in millions ("M"), and the multiply-adds
of matrix products, convolutions and attention in inference are in billions ("G").
"""

import argparse
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from detectron2.config import instantiate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reference import rivals as reference
from tokenseg.config.load import load_config
from tokenseg.config.shipped import config_path
from tokenseg.engine.build import begin_random
from tokenseg.engine.precision import autocast
from tokenseg.segmentor import Segmentor

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


def _rivalry(
    args: argparse.Namespace, config: str, build: Callable[[int, int], reference.RivalModel], *, training: bool
) -> Rivalry:
    ours, num_classes = _our_model(args, config)
    rival = build(num_classes, args.size)
    if training and args.batch < rival.least_batch:
        raise ValueError(f"--batch is {args.batch}; a step of this rival needs {rival.least_batch} images or more")
    for model in (ours, rival.model):
        # Parameters require no gradients in inference, since the counter of operations would build a graph for them.
        model.to(args.device).train(training).requires_grad_(training)
    grey = torch.randint(0, 256, (args.batch, 3, args.size, args.size), device=args.device)
    labels = _labels(args, num_classes)
    inputs = [{"image": image, "sem_seg": label} for image, label in zip(grey, labels, strict=True)]
    images = ours.normalise(grey)
    precision = functools.partial(autocast, args.device, torch.bfloat16 if args.amp else None)
    if training:
        runs = (
            training_step(_inside(precision, lambda: sum(ours(inputs).values())), ours.parameters()),
            training_step(_inside(precision, lambda: rival.loss(images, labels)), rival.model.parameters()),
        )
    else:
        runs = (
            inference(_inside(precision, lambda: ours.class_ids(inputs))),
            inference(_inside(precision, lambda: rival.infer(images))),
        )
    # When peak memory is measured, nothing else may run before.
    facts = {} if args.peak_of or training else _costs(ours, inputs, rival, images)
    facts |= {"ours M": _millions(ours), "rival M": _millions(rival.model)}
    return Rivalry(ours=runs[0], rival=runs[1], facts=facts)


def _our_model(args: argparse.Namespace, config: str) -> tuple[Segmentor, int]:
    """Build our model for whole images of the chosen size, and return it with its number of classes."""
    cfg = load_config(str(config_path(config)), [f"dataset.crop={args.size}", *args.overrides])
    cfg.model.inference = None  # the whole image in one pass, as the rivals do
    return begin_random(instantiate(cfg.model)), cfg.dataset.num_classes


def _labels(args: argparse.Namespace, num_classes: int) -> Tensor:
    """Draw label maps (N, size, size) of square patches."""
    patches = torch.randint(0, num_classes, (args.batch, PATCHES, PATCHES), device=args.device)
    place = torch.arange(args.size, device=args.device) * PATCHES // args.size
    return patches[:, place[:, None], place]


def _inside(context: Callable, run: Callable[[], object]) -> Callable[[], object]:
    def inside() -> object:
        with context():
            return run()

    return inside


def _millions(model: nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


@torch.no_grad()
def _costs(ours: Segmentor, inputs: list[dict], rival: reference.RivalModel, images: Tensor) -> dict[str, float]:
    """Count the billions of multiply-adds per image; torch counts two operations for each of them."""
    costs = {}
    for name, run in (("ours G", lambda: ours.class_ids(inputs)), ("rival G", lambda: rival.infer(images))):
        with FlopCounterMode(display=False) as counter:
            run()
        costs[name] = counter.get_total_flops() / 2e9 / len(inputs)
    return costs
