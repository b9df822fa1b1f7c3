"""Turn a checkpoint that a method's authors published into one of ours.

C is the config of the same experiment here. Every weight of the file must find its place in the model of C and fill it;
what a rule leaves out is listed. `train_net.py --config-file C --eval-only train.init_checkpoint=FILE.pth` evaluates
the result.

Rules are known for StructToken and SegViT on ViTs of mmsegmentation, MaskFormer and Mask2Former on Swin or ResNet. The
released weights of MaskFormer and Mask2Former are under CC-BY-NC 4.0: no commercial use of them, nor of what is
converted from them. They are pickles of arrays (.pkl), so that they need --allow-pickle; overrides such as
`dataset.num_classes=150` fit the config to the data set that they are of.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the same experiment")
    parser.add_argument("--input", required=True, type=Path, metavar="FILE", help="the authors' checkpoint")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.pth", help="file to write")
    parser.add_argument("--allow-pickle", action="store_true", help="read a file that can run any code")
    return parse_with_overrides(parser, words)
