"""Set runs side by side, and tell how sure their differences are.

With --config-file, train several configs with several seeds: a table with the spread, and a picture. Every run has a
folder in DIR. A run that is complete is not repeated and one that was cut off goes on, so the same command with more
seeds or configs adds to what is there. DIR gets `results.csv` (a line per run) and `curves.png`: the metric over the
iterations or, with --vary, over the values of that key. With --metric there are these two files for every metric, with
its name: `--metric bbox/AP segm/AP` of detectors.

With --group, compare runs that have ended, whoever trained them:

    compare.py --group FCN output/fcn_{0,1,2} --group SGR output/sgr_{0,1,2}
    compare.py --group FCN output/fcn_0 --group SGR output/sgr_0 --over images

Differences are from the first config or group, with an interval at 95 %: over seeds, which are paired, by Student's t;
over images, for mIoU, by the bootstrap. 'above' and 'below' say that the interval leaves zero out. An interval over
seeds says how training varies, one over images how the result of these weights does; neither is corrected for many
comparisons: of twenty intervals about one misses the truth.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `groups` has the folders by the name of their group."""
    parser.add_argument("--config-file", nargs="+", metavar="C", help="configs of different names, to be trained")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of all runs and their table")
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
    parser.add_argument(
        "--group",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME FOLDER",
        help="a name and the folders of runs that have ended, one for each seed; the first group is compared with",
    )
    parser.add_argument(
        "--over", choices=("seeds", "images"), default="seeds", help="what groups are compared over; default seeds"
    )
    parser.add_argument(
        "--resamples", type=int, default=10_000, metavar="N", help="of the images, with --over images; default 10000"
    )
    args = parse_with_overrides(parser, words)
    if bool(args.config_file) == bool(args.group):
        parser.error("wanted either --config-file, to train, or --group, to compare runs that have ended")
    _check_groups(args) if args.group else _check_training(args, parser)
    return args


def _check_training(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if args.output is None:
        parser.error("--config-file wants --output too, the folder of all runs")
    if args.over != "seeds":
        raise ValueError("--over images compares runs that have ended; wanted --group NAME FOLDER ... with it")
    check_folder("--output", args.output)
    stems = [Path(path).stem for path in args.config_file]
    if len(set(stems)) < len(stems):
        raise ValueError(f"--config-file names {', '.join(stems)}; wanted different names, since folders have them")
    if args.vary and len(args.vary) == 1:
        raise ValueError(f"--vary {args.vary[0]} has no values; wanted KEY V1 V2 ...")


def _check_groups(args: argparse.Namespace) -> None:
    names = [name for name, *_ in args.group]
    empty = [name for name, *folders in args.group if not folders]
    if empty or len(set(names)) < len(names):
        raise ValueError(f"--group has the names {', '.join(names)}; wanted different ones, each with its folders")
    given = [flag for flag in ("output", "vary", "jobs", "overrides") if getattr(args, flag)]
    if given:
        raise ValueError(f"{' and '.join(given)} are for trainings; wanted none of them with --group")
    if args.over == "images" and args.metric not in (None, ["sem_seg/mIoU"]):
        raise ValueError(
            f"--metric is {' '.join(args.metric)}; wanted sem_seg/mIoU with --over images, which knows no other"
        )
    if args.resamples < 1:
        raise ValueError(f"--resamples is {args.resamples}; wanted 1 or more")
    args.groups = {name: [Path(folder) for folder in folders] for name, *folders in args.group}
