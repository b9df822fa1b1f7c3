"""Train or evaluate the model of a config.

A config has the sections `model`, `dataloader.{train,test,evaluator}`, `optimizer`, `lr_multiplier` and `train`;
configs/common/train.py explains the keys of `train`. Flags and key=value overrides may be in any order. --print-config
shows the config with all overrides.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command; `opts` has the overrides."""
    add_flags(parser)
    parser.add_argument("--print-config", action="store_true", help="print the config with its overrides, and exit")
    add_trust_config(parser)
    args = parser.parse_args(words)
    overrides = []
    while flags := [place for place, word in enumerate(args.opts) if word.startswith("--")]:
        # argparse puts everything after the first override into `opts`, including flags.
        overrides += args.opts[: flags[0]]
        args = parser.parse_args(args.opts[flags[0] :], namespace=args)
    args.opts = overrides + args.opts
    if not args.config_file:
        parser.error("--config-file is missing")
    if args.num_gpus < 1:
        raise ValueError(f"--num-gpus is {args.num_gpus}; wanted 1 or more processes")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(f"--machine-rank is {args.machine_rank}; wanted 0 to {args.num_machines - 1} (--num-machines)")
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ValueError(
            f"--num-machines is {args.num_machines}; wanted --dist-url tcp://HOST:PORT, the address of machine 0"
        )
    return args


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of Detectron2's `default_argument_parser`, whose own module imports torch.

    Only the default of `--dist-url` differs.
    """
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="name or path of the config, or config.yaml of a run"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the output folder")
    parser.add_argument("--eval-only", action="store_true", help="evaluate without training")
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="number of processes on this machine, also on the CPU (default: 1)"
    )
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines (default: 1)")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine, from 0 (default: 0)")
    parser.add_argument(
        "--dist-url",
        default="auto",
        help="tcp://HOST:PORT of machine 0 (default: auto, which suffices for one machine)",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, default=None, metavar="key=value", help="change the config")
