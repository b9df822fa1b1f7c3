"""Trains or evaluates the model of a config, in one process or several: the body of the command `train`."""

import argparse
import logging
import os

import torch
from detectron2.engine import launch
from omegaconf import DictConfig
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ..config.changes import check_changes
from ..config.load import load_config
from ..config.settings import check_training
from ..engine.checkpoint import last_checkpoint
from ..engine.devices import resolve_device, share_threads
from ..engine.logs import start_logs
from ..engine.loop import evaluate, train
from ..engine.precision import amp_dtype
from ..engine.run_folder import make_output_dir

logger = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> None:
    """Train or evaluate as the arguments say.

    Raises:
        ChildProcessError: One of several processes failed; the text has its traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config(args.config_file, args.opts, trust_config=args.trust_config)
    if check(config, args) == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Detectron2 would choose its backend by the GPUs it sees
    try:
        launch(
            work,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(config, args),
        )
    except (ProcessExitedException, ProcessRaisedException) as error:
        raise ChildProcessError(str(error)) from error


def check(config: DictConfig, args: argparse.Namespace) -> str:
    """Refuse what cannot work before any process starts, make the output folder, and return the device of all.

    Raises:
        ValueError: The device, the number of processes, the weights or the output folder cannot be what they are.
    """
    settings = config.train
    if not args.eval_only:
        check_training(config)
    device = resolve_device(settings.device)
    if settings.device == "auto":
        logger.info("train.device=auto: using %s", device)
    amp_dtype(settings.amp, device)
    if device == "cuda" and args.num_gpus > torch.cuda.device_count():
        raise ValueError(f"--num-gpus is {args.num_gpus}; torch finds {torch.cuda.device_count()} GPU(s)")
    resumable = args.resume and last_checkpoint(settings.output_dir)
    if args.eval_only and not settings.init_checkpoint and not resumable:
        raise ValueError("--eval-only wants weights: train.init_checkpoint=FILE, or --resume for the last checkpoint")
    before = os.path.join(settings.output_dir, "config.yaml")
    if resumable and not args.eval_only and os.path.exists(before):
        check_changes(config, before)
    make_output_dir(settings.output_dir, resume=args.resume, training=not args.eval_only, overwrite=settings.overwrite)
    return device


def work(config: DictConfig, args: argparse.Namespace) -> None:
    """Do the work of one process.

    Raises:
        ChildProcessError: A worker that loads images was killed.
    """
    if resolve_device(config.train.device) == "cpu":
        share_threads(args.num_gpus)
    start_logs(config, arguments=args)
    run = evaluate if args.eval_only else train
    try:
        run(config, resume=args.resume)
    except RuntimeError as error:  # torch has no type of its own for a worker that is gone
        if not str(error).startswith("DataLoader worker"):
            raise
        reason = " ".join(str(error).split())
        raise ChildProcessError(
            f"a process that loads images was ended, most likely for want of memory ({reason}); wanted "
            "fewer dataloader.train.num_workers and dataloader.test.num_workers, smaller images, or more memory"
        ) from error
