"""Train or evaluate the model of a config.

A config holds `model`, `dataloader.{train,test,evaluator}`, `optimizer`, `lr_multiplier` and `train`; the keys of the
last are explained in configs/common/train.py. Flags and key=value may stand in any order; --print-config shows what
they make of the config.
"""

import argparse
from collections.abc import Sequence

from ..overrides import add_trust_config


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command; `opts` has the overrides."""
    add_flags(parser)
    parser.add_argument("--print-config", action="store_true", help="print the config with its changes, and do nothing")
    add_trust_config(parser)
    args = parser.parse_args(words)
    overrides = []
    while flags := [place for place, word in enumerate(args.opts) if word.startswith("--")]:
        # argparse leaves all that follows the first override to `opts`, flags too
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
            f"--num-machines is {args.num_machines}; wanted --dist-url tcp://HOST:PORT of machine 0 with it"
        )
    return args


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of Detectron2's `default_argument_parser`, whose module imports torch; only the default of
    `--dist-url` is another."""
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="the config; a run leaves its own as config.yaml"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the output folder")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, and do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine, on the CPU too (default 1)")
    parser.add_argument("--num-machines", type=int, default=1, help="machines that train together (default 1)")
    parser.add_argument("--machine-rank", type=int, default=0, help="which of these machines this is, from 0")
    parser.add_argument(
        "--dist-url", default="auto", help="tcp://HOST:PORT of machine 0; auto, the default, is for one machine"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, default=None, metavar="key=value", help="change the config")
