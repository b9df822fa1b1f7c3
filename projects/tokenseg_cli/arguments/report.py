"""Show runs on one page: curves, classes, confusions, best and worst images with their errors, tokens, cost.

The page is a single HTML file that needs no network; you can open it in any browser or send it to somebody. Several
runs are shown side by side, and the first one determines the best and worst images. For detectors, the page has the AP
of every class, and predictions next to annotations in images from all parts of the test set.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import add_trust_config
from ..paths import check_file


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folder of a run")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="page to write (default: report.html in the folder of the first run)",
    )
    parser.add_argument(
        "--images", type=int, default=4, metavar="N", help="show the N best and the N worst images (default: 4)"
    )
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="show the token maps of this class")
    parser.add_argument(
        "--no-models", action="store_true", help="do not run the models: faster, but without images, tokens and cost"
    )
    parser.add_argument("--device", default="auto", help="device of the models: auto (default), cpu or cuda")
    add_trust_config(parser)
    args = parser.parse_args(words)
    files = [str(run) for run in args.runs if run.is_file()]
    if files:
        raise ValueError(f"RUN is {', '.join(files)}, a file; wanted the output folder of a run")
    args.output = args.output or args.runs[0] / "report.html"
    check_file("--output", args.output)
    if args.images < 0:
        parser.error(f"--images is {args.images}; wanted 0 or more")
    return args
