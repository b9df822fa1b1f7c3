"""From a segmentation model to a detector, on generated images: what a pretrained backbone is worth where there are
few boxes to learn from.

An FCN with SGR learns to segment; its backbone is exported, and a Mask R-CNN begins from it, beside one from scratch.
The two are rows of configs/tables/transfer.yaml, and trained as make_table.py does it: two at a time where there are
two cores, and a command that was cut goes on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the runs, instead of output/transfer")
    args = parse_with_overrides(parser, words)
    if args.output:
        check_folder("--output", args.output)
    return args
