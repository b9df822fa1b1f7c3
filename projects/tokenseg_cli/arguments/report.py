"""Show runs on one page: curves, classes, confusions, best and worst images with their errors, tokens, cost.

The page is a single HTML file that needs no network, to be opened in any browser or sent to somebody. Several runs
stand side by side, and the images are chosen by the first. Of detectors it has the AP of every class, and what they
find in images from all over the test set, beside what is annotated.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import add_trust_config
from ..paths import check_file


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folder of a run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: report.html in the first run)")
    parser.add_argument(
        "--images", type=int, default=4, metavar="N", help="best and worst images, N of each (default 4)"
    )
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="show what tokens have of this class")
    parser.add_argument(
        "--no-models", action="store_true", help="do not run the models: no images, tokens and cost, but done at once"
    )
    parser.add_argument("--device", default="auto", help="where the models run: auto (the default), cpu or cuda")
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
