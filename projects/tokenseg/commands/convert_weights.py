"""The body of the command `convert_weights`, which converts published checkpoints to ours."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..backbones.mmseg_vit import mmseg_vit_rules
from ..backbones.official_pyramids import official_pyramid_rules
from ..backbones.plain_vit import PlainViT
from ..backbones.pyramid import TimmPyramid
from ..checkpoint_file import read_checkpoint
from ..config.instantiate import instantiate
from ..config.load import load_config
from ..engine.checkpoint import Checkpointer
from ..hosts.mask2former import Mask2FormerHead
from ..hosts.mask_former import MaskFormerHead
from ..hosts.official_heads import mask2former_rules, mask_former_rules
from ..segmentor import Segmentor
from ..segvit.convert import segvit_rules
from ..segvit.head import SegViTHead
from ..structtoken.convert import structtoken_rules
from ..structtoken.head import StructTokenHead
from ..weight_rules import WeightRule, convert, unwrap

# The functions that return the rules for a part of the model, by the class of the part.
RULES: dict[type, Callable[..., list[WeightRule]]] = {
    PlainViT: mmseg_vit_rules,
    TimmPyramid: official_pyramid_rules,
    StructTokenHead: structtoken_rules,
    SegViTHead: segvit_rules,
    MaskFormerHead: mask_former_rules,
    Mask2FormerHead: mask2former_rules,
}


def rules_for(model: nn.Module) -> list[WeightRule]:
    """Return the rules for the checkpoints that a method's authors published.

    Args:
        model: The model into which the weights will be loaded.

    Raises:
        ValueError: The model is not a segmentor, or there are no rules for its backbone or its head.
    """
    if not isinstance(model, Segmentor):
        raise ValueError(
            f"the model of the config is a {type(model).__name__}; wanted a Segmentor, since only the checkpoints of "
            "segmentation methods can be converted"
        )
    parts = (model.backbone, model.sem_seg_head)
    without = [type(part).__name__ for part in parts if type(part) not in RULES]
    if without:
        known = ", ".join(kind.__name__ for kind in RULES)
        raise ValueError(f"no published weights are known for {' and '.join(without)}; wanted a config with {known}")
    return [rule for part in parts for rule in RULES[type(part)](part)]


def check_output(output: Path, source: Path) -> None:
    """Raise a ValueError, before any work, if the output cannot be written or would replace the authors' file."""
    if output.suffix != ".pth":
        raise ValueError(f"--output is {output}; wanted a file name that ends in .pth")
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise ValueError(f"--output {output} cannot be written: {output.parent} is not a folder with write permission")
    if output.is_dir() or (output.exists() and source.exists() and output.samefile(source)):
        raise ValueError(f"--output {output} is {'a folder' if output.is_dir() else 'the --input'}; wanted a new file")


def main(args: argparse.Namespace) -> None:
    """Write the weights of `args.input`, with the names of the model of `args.config_file`, to `args.output`."""
    check_output(args.output, args.input)
    cfg = load_config(args.config_file, args.overrides, trust_config=args.trust_config)
    with torch.device("meta"):
        model = instantiate(cfg.model)
    rules = rules_for(model)
    state = unwrap(read_checkpoint(str(args.input), allow_pickle=args.allow_pickle, permission="--allow-pickle"))
    numbers = sum(value.numel() for value in state.values())
    print(f"{len(state)} weights ({numbers / 1e6:.2f} M numbers) read from {args.input}")
    converted, dropped = convert(state, model.state_dict(), rules)
    model.load_state_dict(converted, assign=True)
    Checkpointer(model, str(args.output.parent)).save(args.output.stem, tag=False)
    print(f"{len(converted)} weights, all that the model has, converted and written to {args.output}")
    print(f"{len(dropped)} weights dropped{': ' if dropped else ''}{', '.join(dropped)}")
