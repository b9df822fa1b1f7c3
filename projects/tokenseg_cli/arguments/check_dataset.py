"""Look at images, and their label maps or boxes and masks, before a training does, and say what is wrong and its cure.

Checks the data of `train_net.py --config-file C key=value ...`; C is configs/own_data.py by default, and
configs/own_detection.py for an annotation file of your own. Every file is read by the code that reads it in training.
ERROR: the training would stop, or have nothing to learn; then the exit code is 1. NOTE: worth a look.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("--config-file", metavar="C", help="default: configs/own_data.py")
    parser.add_argument("--split", choices=("train", "test"), help="default: both")
    parser.add_argument("--limit", type=int, metavar="N", help="look at so many images of a split only")
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="as for train_net.py")
    args = parser.parse_intermixed_args(words)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit is {args.limit}; wanted 1 or more")
    return args
