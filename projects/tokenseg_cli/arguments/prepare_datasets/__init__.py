"""A file for every data set that official archives make; its docstring describes the archives and what is written."""

import argparse
import os
from collections.abc import Sequence


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments, which all data sets share."""
    parser.add_argument(
        "--archives",
        nargs="+",
        required=True,
        metavar="PATH",
        help="the archives, folders that hold them, or folders in which they are unpacked",
    )
    parser.add_argument(
        "--root",
        default=os.getenv("DETECTRON2_DATASETS", "datasets"),
        metavar="DIR",
        help="folder of all data sets (default: $DETECTRON2_DATASETS, or ./datasets)",
    )
    parser.add_argument(
        "--any-count", action="store_true", help="accept part of the data set: results will not be comparable"
    )
    return parser.parse_args(words)
