"""Train several configs with several seeds and set their results side by side: a table with the spread, and a picture.

Every run has a folder in DIR. A run that is complete is not repeated and one that was cut off goes on, so the same
command with more seeds or configs adds to what is there. DIR gets `results.csv` (a line per run) and `curves.png`: the
metric over the iterations or, with --vary, over the values of that key. With --metric there are these two files for
every metric, with its name: `--metric bbox/AP segm/AP` of detectors.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("--config-file", nargs="+", required=True, metavar="C", help="configs of different names")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of all runs and their table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--vary", nargs="+", metavar="KEY V1", help="a key of the config and the values it takes")
    parser.add_argument(
        "--metric",
        nargs="+",
        metavar="KEY",
        help="of metrics.json, like tokens_class/S_C; default train.best_metric of the first",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="J", help="runs at a time; default as many as cores, or 1 where there is a GPU"
    )
    args = parse_with_overrides(parser, words)
    check_folder("--output", args.output)
    stems = [Path(path).stem for path in args.config_file]
    if len(set(stems)) < len(stems):
        raise ValueError(f"--config-file names {', '.join(stems)}; wanted different names, since folders have them")
    if args.vary and len(args.vary) == 1:
        raise ValueError(f"--vary {args.vary[0]} has no values; wanted KEY V1 V2 ...")
    return args
