"""Check images with their label maps, or boxes and masks, before a training, and explain how to fix problems.

The command checks the data of `train_net.py --config-file C key=value ...`. C is configs/own_data.py by default; use
configs/own_detection.py for your own annotation file. Every file is read by the same code as in training. ERROR means
that a training would stop or have nothing to learn; then the exit code is 1. NOTE means that you should have a look.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument("--config-file", metavar="C", help="config of the training (default: configs/own_data.py)")
    parser.add_argument("--split", choices=("train", "test"), help="split to check (default: both)")
    parser.add_argument("--limit", type=int, metavar="N", help="check only N images of each split")
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="change the config")
    args = parser.parse_intermixed_args(words)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit is {args.limit}; wanted 1 or more")
    return args
