"""Export the backbone of a trained model, including its SGR or GloRe but without heads.

C is the config.yaml in the folder of a run, and W one of the run's checkpoints; the run may be of a segmentor or a
detector. The command lists every weight that it keeps or drops. Another training starts from the file with
`train.init_backbone.file=FILE.safetensors`, and your own training loop with `tokenseg.load_backbone(model, FILE)`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_file


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument("--config-file", required=True, metavar="C", help="config of the trained model")
    parser.add_argument("--weights", required=True, type=Path, metavar="W", help="checkpoint of the trained model")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.safetensors", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="allow a pickled checkpoint, which can run any code"
    )
    args = parse_with_overrides(parser, words)
    check_file("--output", args.output)
    if args.output.suffix != ".safetensors":
        raise ValueError(f"--output is {args.output}; wanted a file name that ends in .safetensors")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"--output {args.output} exists already; wanted another name, or --overwrite")
    return args
