"""Compare Mask2Former's head with that of `transformers`, and our two implementations of deformable attention.

The head runs in float32 on random maps with the channels of Swin-T, for 150 classes and by default two images of
512 x 512 pixels, whose label maps have ten classes in squares. `step` is the forward and backward pass with the loss of
all ten stages. Both sides compute the losses at the same points, which are drawn beforehand, so that the losses are
equal. `attention` is one layer of our deformable attention: the embedding bag, which is the default, compared with
`grid_sample`.
"""

import argparse
import functools
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn

from reference import hosts as reference
from tokenseg.contracts import Targets
from tokenseg.hosts.deformable import SAMPLING, DeformableAttention
from tokenseg.hosts.deformable_sampling import LevelLayout
from tokenseg.hosts.mask2former import Mask2FormerHead
from tokenseg.losses.point_mask import PointMaskLoss

from ._duel import Duel
from ._runs import inference, training_step

CHANNELS = {"res2": 96, "res3": 192, "res4": 384, "res5": 768}
NUM_CLASSES, NUM_QUERIES = 150, 100
WEIGHTS = {"cross_entropy": 5.0, "dice": 5.0, "class": 2.0}
THEIR_TERMS = {"cross_entropy": "loss_mask", "dice": "loss_dice", "class": "loss_cross_entropy"}
# Rounding decides whether a cell at the border of a mask belongs to it, and thereby the cells that a query attends to.
TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3


def cases(args: argparse.Namespace) -> dict[str, Callable[[], Duel]]:
    if args.overrides:
        raise ValueError(f"hosts has no config for {' '.join(args.overrides)}; wanted --batch, --size or --classes")
    return {
        f"{part} {mode}": functools.partial(duel, args, mode)
        for part, duel in (("mask2former", _head), ("attention", _attention))
        for mode in ("inference", "step")
    }


def _head(args: argparse.Namespace, mode: str) -> Duel:
    theirs = reference.mask2former(width=CHANNELS["res2"], num_classes=NUM_CLASSES).to(args.device).eval()
    for name, parameter in theirs.named_parameters():
        if "sampling_offsets.bias" in name:
            # Initially, points lie exactly on the centres of cells, where rounding decides between two gradients.
            nn.init.normal_(parameter)
    criterion = PointMaskLoss(num_classes=NUM_CLASSES, num_queries=NUM_QUERIES, weights=WEIGHTS)
    head = Mask2FormerHead(channels=list(CHANNELS.values()), num_classes=NUM_CLASSES, criterion=criterion)
    reference.load_renamed(head, reference.head_weights(theirs), reference.MASK2FORMER).to(args.device).eval()
    sides = [args.size // (4 << place) for place in range(len(CHANNELS))]
    maps = [
        torch.randn(args.batch, count, side, side, device=args.device)
        for count, side in zip(CHANNELS.values(), sides, strict=True)
    ]
    features = dict(zip(CHANNELS, maps, strict=True))
    if mode == "inference":
        return Duel(
            ours=inference(lambda: _last(head, features)),
            rival=inference(lambda: reference.mask2former_stages(theirs, maps)[-1]),
            tolerance=TOLERANCE,
        )
    labels = _labels(args)
    targets = Targets.alone(criterion, labels)
    leaves = [x.requires_grad_() for x in maps]
    points = torch.rand(3 * criterion.sampling.num_points, 2, device=args.device)
    head.train()
    return Duel(
        ours=training_step(_with(points, lambda: sum(head(features, targets)[1].values())), _sorted(head) + leaves),
        rival=training_step(
            _with(points, functools.partial(_their_loss, theirs, maps, labels)), _paired(theirs) + leaves
        ),
        tolerance=TOLERANCE,
        gradient_tolerance=GRADIENT_TOLERANCE,
    )


def _last(head: Mask2FormerHead, features: dict[str, Tensor]) -> list[Tensor]:
    last = head.decode(features)[-1]
    return [last.class_logits, last.masks]


def _their_loss(model: nn.Module, maps: list[Tensor], labels: Tensor) -> Tensor:
    classes = [each.unique() for each in labels]
    masks = [(each == own[:, None, None]).float() for each, own in zip(labels, classes, strict=True)]
    terms = [
        model.criterion(masks_, logits, masks, classes) for logits, masks_ in reference.mask2former_stages(model, maps)
    ]
    return sum(weight * each[THEIR_TERMS[name]] for each in terms for name, weight in WEIGHTS.items())


def _sorted(head: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that have one counterpart each in `transformers`, in the order of their names.

    The projections of the cross attention are left out, since they are one matrix in `transformers`.
    """
    return [x for name, x in sorted(head.named_parameters()) if "cross_attention.attention" not in name]


def _paired(theirs: nn.Module) -> list[nn.Parameter]:
    """Return their parameters in the order of `_sorted`."""
    parameters = {name.removeprefix("model."): x for name, x in theirs.named_parameters()}
    names = reference.new_names(reference.head_weights(theirs), reference.MASK2FORMER)
    pairs = sorted((new, old) for old, new in names.items() if "cross_attention.attention" not in new)
    return [parameters[old] for _, old in pairs]


def _with(points: Tensor, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return a function that computes the loss with the same points for all masks."""

    def draw(*shape: int, **_: object) -> Tensor:
        return points[: shape[-2]].expand(shape).clone()

    def run() -> Tensor:
        with mock.patch.object(torch, "rand", draw):
            return loss()

    return run


def _labels(args: argparse.Namespace) -> Tensor:
    """Create label maps (N, size, size) of 8 x 8 squares, with classes that are drawn for each image."""
    classes = [torch.randperm(NUM_CLASSES)[: args.classes] for _ in range(args.batch)]
    squares = torch.stack([each[torch.arange(64).view(8, 8) % len(each)] for each in classes])
    side = args.size // 8
    return squares.repeat_interleave(side, 1).repeat_interleave(side, 2).to(args.device)


def _attention(args: argparse.Namespace, mode: str) -> Duel:
    sizes = [(args.size // stride, args.size // stride) for stride in (32, 16, 8)]
    ours, rival = (DeformableAttention(width=256, sampling=sampling).to(args.device) for sampling in SAMPLING)
    nn.init.normal_(ours.offsets.weight, std=0.1)
    rival.load_state_dict(ours.state_dict())
    layout = LevelLayout.of(sizes, num_points=ours.num_points, device=args.device)
    cells = torch.randn(args.batch, sum(height * width for height, width in sizes), 256, device=args.device)
    if mode == "inference":
        return Duel(*(inference(functools.partial(each, cells, cells, layout)) for each in (ours, rival)))
    cells.requires_grad_()
    weights = torch.randn_like(cells)
    return Duel(
        *(
            training_step(lambda part=part: (part(cells, cells, layout) * weights).sum(), [*part.parameters(), cells])
            for part in (ours, rival)
        )
    )
