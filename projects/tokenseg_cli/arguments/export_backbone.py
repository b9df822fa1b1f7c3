"""Write the backbone of a trained model to a file of its own, with SGR or GloRe if it has one, and without heads.

C is the config.yaml that a run leaves in its folder, and W one of its checkpoints; a detector's backbone is exported
just so. Every weight that is kept or dropped is listed. Another training begins from the file by
`train.init_backbone.file=FILE.safetensors`, and a loop of your own by `tokenseg.load_backbone(model, FILE)`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the trained model")
    parser.add_argument("--weights", required=True, type=Path, metavar="W", help="checkpoint of the trained model")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.safetensors", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    parser.add_argument("--allow-pickle", action="store_true", help="read a checkpoint that can run any code")
    args = parse_with_overrides(parser, words)
    check_file("--output", args.output)
    if args.output.suffix != ".safetensors":
        raise ValueError(f"--output is {args.output}; wanted a file name that ends in .safetensors")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"--output {args.output} is there already; wanted another name, or --overwrite")
    return args
