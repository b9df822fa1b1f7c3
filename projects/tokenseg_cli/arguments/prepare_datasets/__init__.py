"""The data sets with official archives, one file each. Its docstring describes the archives and the files written."""

import argparse
import os
from collections.abc import Sequence


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments, which are the same for all data sets."""
    parser.add_argument(
        "--archives",
        nargs="+",
        required=True,
        metavar="PATH",
        help="the archives, folders that contain them, or folders into which they were unpacked",
    )
    parser.add_argument(
        "--root",
        default=os.getenv("DETECTRON2_DATASETS", "datasets"),
        metavar="DIR",
        help="folder of all data sets (default: $DETECTRON2_DATASETS, or ./datasets)",
    )
    parser.add_argument(
        "--any-count", action="store_true", help="accept an incomplete data set, which makes results incomparable"
    )
    return parser.parse_args(words)
