"""Make all runs of a table file, several at a time, and write its tables with means and standard deviations.

Every row of the file is trained once with each of its seeds. A row may depend on another one, for instance on a
backbone that the other has trained. If the command was interrupted, the same command continues: finished runs are kept,
and unfinished ones resume. If a run fails, it is reported together with the runs that depend on it, the others go on,
and the exit code is 1. A table file looks like this:

    output: output/NAME                       # folder of all runs, of tables.md and results.csv
    seeds: [0, 1, 2]                          # for rows without their own seeds
    overrides: [train.amp.enabled=true]       # for all rows
    tables:
      - title: Pretraining
        metrics: {mIoU: sem_seg/mIoU}         # columns: title and key of metrics.json
        rows:
          first:
            config: ../shape_scenes/A.py      # relative to this file
            overrides: [train.max_iter=400]
            # commands of `tokenseg` after the training; {here} is the folder of the run
            then: ["export-backbone ... --output {here}/backbone.safetensors"]
      - title: Fine-tuning
        metrics: {box AP: bbox/AP}
        overrides: [optimizer.lr=1e-3]        # for all rows of this table
        baseline: plain                       # optional; other rows are compared with this one, seed by seed
        rows:
          plain: {title: From scratch, config: ../shape_scenes/B.py}
          second:
            title: With the first             # in the table; the default is the name of the row
            config: ../shape_scenes/B.py
            overrides: ["KEY={first}/backbone.safetensors"]    # {first} is the folder of that row's run, same seed
            seeds: [0]
            priority: -1                      # rows with lower numbers run first; the default is 0
            without: [mask AP]                # columns for which this row has no value
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser.add_argument(
        "table", type=Path, metavar="FILE", help="the table file, or the name of one of TokenSeg's, such as transfer"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of all runs (default: that of the file)")
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="make only these rows and those on which they depend"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[], metavar="N", help="make only runs with these seeds")
    parser.add_argument(
        "--jobs", type=int, metavar="J", help="number of runs at a time (default: 1 with a GPU, otherwise one per core)"
    )
    args = parse_with_overrides(parser, words)
    if args.output:
        check_folder("--output", args.output)
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs is {args.jobs}; wanted 1 or more runs at a time")
    return args
