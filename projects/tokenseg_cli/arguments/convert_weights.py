"""Convert a checkpoint that a method's authors published to a checkpoint of TokenSeg.

C is the config of the same experiment here. Every weight of the file must have a counterpart of the same shape in the
model of C, and every weight of the model must be in the file; weights that are dropped on purpose are listed.
`train_net.py --config-file C --eval-only train.init_checkpoint=FILE.pth` evaluates the result.

The command can convert StructToken and SegViT on mmsegmentation's ViTs, and MaskFormer and Mask2Former on Swin or
ResNet. The released weights of MaskFormer and Mask2Former are licensed under CC-BY-NC 4.0, which forbids commercial
use, also of the converted weights. They are pickled arrays (.pkl), so they need --allow-pickle. Overrides such as
`dataset.num_classes=150` adapt the config to the data set of the checkpoint.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the same experiment")
    parser.add_argument("--input", required=True, type=Path, metavar="FILE", help="the authors' checkpoint")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.pth", help="file to write")
    parser.add_argument("--allow-pickle", action="store_true", help="allow a pickled file, which can run any code")
    return parse_with_overrides(parser, words)
