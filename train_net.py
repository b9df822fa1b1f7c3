#!/usr/bin/env python
"""Train or evaluate the model of a config.

    train_net.py --config-file C [--num-gpus N] [--resume] [--eval-only] [key=value ...]

A config holds `model`, `dataloader.{train,test,evaluator}`, `optimizer`, `lr_multiplier` and `train`; the keys of the
last are explained in configs/common/train.py. `--num-gpus` is the number of processes, on the CPU too.
"""

import argparse
import logging
import os
import re
import sys

import torch
from detectron2.engine import default_argument_parser, launch
from omegaconf import DictConfig
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from tokenseg.config.load import load_config
from tokenseg.engine.checkpoint import last_checkpoint
from tokenseg.engine.devices import resolve_device, share_threads
from tokenseg.engine.logs import start_logs
from tokenseg.engine.loop import evaluate, train
from tokenseg.engine.precision import amp_dtype
from tokenseg.engine.run_folder import make_output_dir

logger = logging.getLogger("tokenseg.train_net")


def main(cfg: DictConfig, args: argparse.Namespace) -> None:
    """One process's work."""
    if resolve_device(cfg.train.device) == "cpu":
        share_threads(args.num_gpus)
    start_logs(cfg, arguments=args)
    run = evaluate if args.eval_only else train
    run(cfg, resume=args.resume)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Detectron2's flags, which may also stand after overrides."""
    parser = default_argument_parser(epilog=__doc__)
    parser.set_defaults(dist_url="auto")
    args = parser.parse_args(argv)
    overrides = []
    while flags := [place for place, word in enumerate(args.opts) if word.startswith("--")]:
        # argparse leaves all that follows the first override to `opts`, flags too
        overrides += args.opts[: flags[0]]
        args = parser.parse_args(args.opts[flags[0] :], namespace=args)
    args.opts = overrides + args.opts
    if not args.config_file:
        parser.error("--config-file is missing")
    return args


def check(cfg: DictConfig, args: argparse.Namespace) -> str:
    """Refuse what cannot work before any process starts, and return the device that all will use."""
    device = resolve_device(cfg.train.device)
    if cfg.train.device == "auto":
        logger.info("train.device=auto: using %s", device)
    amp_dtype(cfg.train.amp, device)
    if args.num_gpus < 1:
        raise ValueError(f"--num-gpus is {args.num_gpus}; wanted 1 or more processes")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(f"--machine-rank is {args.machine_rank}; wanted 0 to {args.num_machines - 1} (--num-machines)")
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ValueError(
            f"--num-machines is {args.num_machines}; wanted --dist-url tcp://HOST:PORT of machine 0 with it"
        )
    if device == "cuda" and args.num_gpus > torch.cuda.device_count():
        raise ValueError(f"--num-gpus is {args.num_gpus}; torch finds {torch.cuda.device_count()} GPU(s)")
    resumable = args.resume and last_checkpoint(cfg.train.output_dir)
    if args.eval_only and not cfg.train.init_checkpoint and not resumable:
        raise ValueError("--eval-only wants weights: train.init_checkpoint=FILE, or --resume for the last checkpoint")
    if not args.eval_only and cfg.train.max_iter < 1:
        raise ValueError(f"train.max_iter is {cfg.train.max_iter}; wanted 1 or more")
    make_output_dir(
        cfg.train.output_dir, resume=args.resume, training=not args.eval_only, overwrite=cfg.train.overwrite
    )
    return device


def invoke(argv: list[str]) -> None:
    args = parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    if check(cfg, args) == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Detectron2 would choose its backend by the GPUs it sees
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(cfg, args),
    )


def one_line(error: Exception) -> str:
    """What went wrong, without the traceback that errors of other processes carry in their text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return re.sub(r"^(\w+\.)*\w+: ", "", lines[-1]) if "Traceback" in str(error) else " ".join(lines)


def command(argv: list[str]) -> None:
    """`invoke`, where mistakes of the user's and lack of space end in one line and exit code 1."""
    try:
        invoke(argv)
    except (ValueError, FloatingPointError, OSError, ProcessExitedException, ProcessRaisedException) as error:
        sys.exit(f"train_net.py: error: {one_line(error)}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command(sys.argv[1:])
