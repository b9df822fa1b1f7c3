"""Gather a trained model with its config, metrics and a model card in a folder, and upload it to the Hugging Face hub.

`tokenseg.load` takes the folder, and the repository as hf://OWNER/NAME. Read the card before you upload it: it says
what the run knows, and not what your data may be used for.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint (default: the run's best one, or else its final one)"
    )
    parser.add_argument("--license", default="", metavar="NAME", help="license of the weights, such as cc-by-4.0")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload the folder to this repository of the hub")
    parser.add_argument("--private", action="store_true", help="make that repository a private one")
    args = parser.parse_args(words)
    if args.push and args.push.count("/") != 1:
        parser.error(f"--push is '{args.push}'; wanted OWNER/NAME")
    return args
