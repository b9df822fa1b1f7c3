"""Collect a trained model, its config, its metrics and a model card in a folder, and upload it to the Hugging Face hub.

`tokenseg.load` accepts the folder, and the repository as hf://OWNER/NAME. Read the model card before you upload it: it
is written from the run, which does not know what your data may be used for.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint (default: the run's best or, without one, its final checkpoint)"
    )
    parser.add_argument("--license", default="", metavar="NAME", help="license of the weights, such as cc-by-4.0")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload the folder to this repository of the hub")
    parser.add_argument("--private", action="store_true", help="make that repository private")
    args = parser.parse_args(words)
    if args.push and args.push.count("/") != 1:
        parser.error(f"--push is '{args.push}'; wanted OWNER/NAME")
    check_folder("--output", args.output)
    return args
