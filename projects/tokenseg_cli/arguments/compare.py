"""Compare runs, with confidence intervals of their differences.

With --config-file, the command trains several configs with several seeds, and writes a table with standard deviations
and a picture. Every run has a folder in DIR. A complete run is not repeated, and an interrupted one continues, so the
same command with more seeds or configs extends the comparison. DIR gets the files `results.csv`, with one line per run,
and `curves.png`, which shows the metric over the iterations or, with --vary, over the values of the varied key. With
--metric, as in `--metric bbox/AP segm/AP` for detectors, both files are written for every metric.

With --group, the command compares runs that have ended, however they were trained:

    compare.py --group FCN output/fcn_{0,1,2} --group SGR output/sgr_{0,1,2}
    compare.py --group FCN output/fcn_0 --group SGR output/sgr_0 --over images

Differences are measured from the first config or group, with 95 % confidence intervals: over seeds, which are paired,
by Student's t, or over images, for mIoU, by the bootstrap. 'above' and 'below' say that the interval excludes zero. An
interval over seeds describes how training varies; an interval over images describes how the result of the same weights
varies. There is no correction for multiple comparisons: on average one of twenty intervals misses the true value.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command; `groups` has the folders of each group by its name."""
    parser.add_argument("--config-file", nargs="+", metavar="C", help="configs to train, with different file names")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of all runs and their table")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="seeds of each config (default: 0 1 2)"
    )
    parser.add_argument("--vary", nargs="+", metavar="KEY V1", help="a key of the config and the values to try")
    parser.add_argument(
        "--metric",
        nargs="+",
        metavar="KEY",
        help="keys of metrics.json, such as tokens_class/S_C (default: train.best_metric of the first config)",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="J", help="number of runs at a time (default: 1 with a GPU, otherwise one per core)"
    )
    parser.add_argument(
        "--group",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME FOLDER",
        help="a name and the folders of runs that have ended, one per seed; the first group is the baseline",
    )
    parser.add_argument(
        "--over", choices=("seeds", "images"), default="seeds", help="the source of variation (default: seeds)"
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=10_000,
        metavar="N",
        help="number of bootstrap resamples with --over images (default: 10000)",
    )
    args = parse_with_overrides(parser, words)
    if bool(args.config_file) == bool(args.group):
        parser.error("wanted either --config-file, to train, or --group, to compare runs that have ended")
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs is {args.jobs}; wanted 1 or more runs at a time")
    _check_groups(args) if args.group else _check_training(args, parser)
    return args


def _check_training(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if args.output is None:
        parser.error("--config-file needs --output, the folder of all runs")
    if args.over != "seeds":
        raise ValueError("--over images compares runs that have ended; wanted --group NAME FOLDER ... with it")
    check_folder("--output", args.output)
    stems = [Path(path).stem for path in args.config_file]
    if len(set(stems)) < len(stems):
        raise ValueError(
            f"--config-file has the names {', '.join(stems)}; wanted different names, after which folders are named"
        )
    if args.vary and len(args.vary) == 1:
        raise ValueError(f"--vary {args.vary[0]} has no values; wanted KEY V1 V2 ...")


def _check_groups(args: argparse.Namespace) -> None:
    names = [name for name, *_ in args.group]
    empty = [name for name, *folders in args.group if not folders]
    if empty or len(set(names)) < len(names):
        raise ValueError(f"--group has the names {', '.join(names)}; wanted different names, each with its folders")
    given = [f"--{flag}" for flag in ("output", "vary", "jobs") if getattr(args, flag)]
    given += ["overrides of the config"] * bool(args.overrides)
    if given:
        raise ValueError(f"--group compares runs that have ended; wanted it without {' and '.join(given)}")
    if args.over == "images" and args.metric not in (None, ["sem_seg/mIoU"]):
        raise ValueError(
            f"--metric is {' '.join(args.metric)}; wanted sem_seg/mIoU, the only metric that --over images supports"
        )
    if args.resamples < 1:
        raise ValueError(f"--resamples is {args.resamples}; wanted 1 or more")
    args.groups = {name: [Path(folder) for folder in folders] for name, *folders in args.group}
