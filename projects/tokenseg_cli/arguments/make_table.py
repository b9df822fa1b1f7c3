"""Make all runs of a table file, several at a time, and write its tables with means and spreads.

Every row of the file is trained once with each of its seeds; rows may need others, such as a backbone that another has
trained. The same command goes on where it was cut: finished runs are kept, those under way resume. A run that fails is
reported, with those that need it, and the others go on; the exit code is 1 then.

    output: output/NAME                       # folder of all runs, of tables.md and results.csv
    seeds: [0, 1, 2]                          # of rows that have none of their own
    overrides: [train.amp.enabled=true]       # of all rows
    tables:
      - title: Pretraining
        metrics: {mIoU: sem_seg/mIoU}         # columns: title and key of metrics.json
        rows:
          first:
            config: ../shape_scenes/A.py      # relative to this file
            overrides: [train.max_iter=400]
            then: ["export-backbone ... --output {here}/backbone.safetensors"]    # of `tokenseg`
      - title: Fine-tuning
        metrics: {box AP: bbox/AP}
        overrides: [optimizer.lr=1e-3]        # of all rows of this table
        baseline: plain                       # the row that others are compared with, seed by seed; may be left out
        rows:
          plain: {title: From scratch, config: ../shape_scenes/B.py}
          second:
            title: With the first             # in the table; without it the name
            config: ../shape_scenes/B.py
            overrides: ["KEY={first}/backbone.safetensors"]    # {first}: the folder of its run with the same seed
            seeds: [0]
            priority: -1                      # lower numbers come first; the default is 0
            without: [mask AP]                # columns that this row has no number for
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..overrides import parse_with_overrides
from ..paths import check_folder


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    parser.add_argument("table", type=Path, metavar="FILE", help="the table file, such as configs/tables/transfer.yaml")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of all runs, instead of the file's")
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="only these rows, and those that they need"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[], metavar="N", help="only these seeds")
    parser.add_argument(
        "--jobs", type=int, metavar="J", help="runs at a time; default as many as cores, or 1 where there is a GPU"
    )
    args = parse_with_overrides(parser, words)
    if args.output:
        check_folder("--output", args.output)
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs is {args.jobs}; wanted 1 or more runs at a time")
    return args
