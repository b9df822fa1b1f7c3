"""Transfer the backbone of a segmentation model to a detector on generated images, and measure the benefit.

An FCN with SGR is trained for segmentation. Its backbone is exported, and a Mask R-CNN is trained from it on few boxes;
another Mask R-CNN is trained from scratch. Both are rows of configs/tables/transfer.yaml, and run as make_table.py runs
them: two at a time if there are two cores. If the command was interrupted, run it again to continue.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the runs (default: output/transfer)")
    args = parse_with_overrides(parser, words)
    if args.output:
        check_folder("--output", args.output)
    return args
