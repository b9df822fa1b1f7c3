"""Trains or evaluates the model of a config, in one process or several: the body of the command `train`."""

import argparse
import contextlib
import functools
import logging
import os
import sys

import torch
import yaml
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

from ..config.changes import as_saved, check_changes
from ..config.instantiate import instantiate
from ..config.load import load_config
from ..config.settings import check_training
from ..datasets.class_weights import balanced_weights, count_class_pixels
from ..engine.checkpoint import last_checkpoint
from ..engine.devices import resolve_device, share_threads
from ..engine.fresh_start import check_fresh_start
from ..engine.launchers import Place, place_given
from ..engine.logs import start_logs
from ..engine.loop import evaluate, train
from ..engine.precision import amp_dtype
from ..engine.processes import free_meeting, group, leave, prepare_to_leave, start_and_wait
from ..engine.run_folder import locked, make_output_dir
from ..engine.sharding import check_sharding
from ..engine.stopping import Stopped, StopRequest, die_with_parent

logger = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> int | None:
    """Train or evaluate as the arguments say, or print the config.

    Returns:
        The exit code, if the run was stopped by a signal.

    Raises:
        ChildProcessError: One of several processes failed; the text has its traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    place = place_given(os.environ)
    if place and (args.num_gpus > 1 or args.num_machines > 1):
        raise ValueError(
            f"--num-gpus is {args.num_gpus} and --num-machines {args.num_machines}, while a launcher has started "
            f"{place.world_size} process(es); wanted one of both: torchrun and srun say alone how many there are"
        )
    config = load_config(args.config_file, args.opts, trust_config=args.trust_config)
    if args.print_config:
        print(yaml.safe_dump(as_saved(config), sort_keys=False), end="")
        return None
    set_class_weights(config, training=not args.eval_only)
    device = check(config, args, processes=place.world_size if place else args.num_gpus * args.num_machines)
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # parts of Detectron2 use the GPUs that they see
    do = functools.partial(work, config, args, device)
    try:
        if place or args.num_gpus * args.num_machines == 1:
            if place:
                prepare_to_leave()
            if place and place.meeting == "env://":
                die_with_parent()  # else the processes of a torchrun that was killed go on
            with StopRequest() as stop:
                do(stop, place)
            if place:
                leave(0)
        else:
            start_and_wait(do, places(args))
    except Stopped as stopped:
        if place is None or place.rank == 0:
            print(f"train_net.py: {stopped}; {_whats_next(config, args)}", file=sys.stderr)
        if place:
            leave(stopped.exit_code)
        return stopped.exit_code
    return None


def set_class_weights(config: DictConfig, *, training: bool) -> None:
    """Put numbers in the place of `dataset.class_weights=balanced`, from the label maps of the training set.

    Evaluations have no losses, and put nothing there.

    Raises:
        ValueError: A label map cannot be read.
    """
    if OmegaConf.select(config, "dataset.class_weights") != "balanced":
        return
    dataset = config.dataset
    weights = None
    if training:
        names = instantiate(config.dataloader.train.dataset)
        pixels = count_class_pixels(names, num_classes=dataset.num_classes, ignore_label=dataset.ignore_label)
        weights = [float(f"{weight:.4g}") for weight in balanced_weights(pixels)]
        logger.info("dataset.class_weights=balanced: %s", weights)
    dataset.class_weights = weights


def places(args: argparse.Namespace) -> list[Place]:
    """The places of the processes that are to be started on this machine."""
    meeting = free_meeting() if args.dist_url == "auto" else args.dist_url
    first, size = args.machine_rank * args.num_gpus, args.num_machines * args.num_gpus
    return [Place(first + number, size, number, args.num_gpus, meeting) for number in range(args.num_gpus)]


def _whats_next(config: DictConfig, args: argparse.Namespace) -> str:
    if args.eval_only:
        return "nothing is evaluated"
    path = last_checkpoint(config.train.output_dir)
    return f"--resume goes on from {path}" if path else "no step was done yet"


def check(config: DictConfig, args: argparse.Namespace, *, processes: int) -> str:
    """Refuse what cannot work before any process starts, make the output folder, and return the device of all.

    Args:
        config: The config.
        args: The arguments of the command.
        processes: The number of processes of the run.

    Raises:
        ValueError: The device, the number of processes, the weights or the output folder cannot be what they are.
    """
    settings = config.train
    if not args.eval_only:
        check_training(config)
        check_sharding(settings, processes)
    device = resolve_device(settings.device)
    if settings.device == "auto":
        logger.info("train.device=auto: using %s", device)
    amp_dtype(settings.amp, device)
    if device == "cuda" and args.num_gpus > torch.cuda.device_count():
        raise ValueError(f"--num-gpus is {args.num_gpus}; torch finds {torch.cuda.device_count()} GPU(s)")
    resumable = args.resume and last_checkpoint(settings.output_dir)
    if args.eval_only and not settings.init_checkpoint and not resumable:
        raise ValueError("--eval-only wants weights: train.init_checkpoint=FILE, or --resume for the last checkpoint")
    if not args.eval_only and not resumable:
        check_fresh_start(config)
    before = os.path.join(settings.output_dir, "config.yaml")
    if resumable and not args.eval_only and os.path.exists(before):
        check_changes(config, before)
    make_output_dir(settings.output_dir, resume=args.resume, training=not args.eval_only, overwrite=settings.overwrite)
    return device


def work(config: DictConfig, args: argparse.Namespace, device: str, stop: StopRequest, place: Place | None) -> None:
    """Do the work of one process.

    Args:
        config: The config.
        args: The arguments of the command.
        device: The device, `cpu` or `cuda`.
        stop: What the run is stopped by.
        place: The place of this process among several; None if it is alone.

    Raises:
        ChildProcessError: A worker that loads images was killed.
    """
    with contextlib.ExitStack() as stack:
        if place:
            stack.enter_context(group(place, device=device, stop=stop))
        if device == "cpu":
            share_threads(place.local_size if place else 1)
        if comm.is_main_process() and not args.eval_only:
            stack.enter_context(locked(config.train.output_dir))
        start_logs(config, arguments=args)
        try:
            if args.eval_only:
                evaluate(config, resume=args.resume)
            else:
                train(config, resume=args.resume, stop=stop)
        except RuntimeError as error:  # torch has no type of its own for a worker that is gone
            if not str(error).startswith("DataLoader worker"):
                raise
            reason = " ".join(str(error).split())
            raise ChildProcessError(
                f"a process that loads images was ended, most likely for want of memory ({reason}); wanted "
                "fewer dataloader.train.num_workers and dataloader.test.num_workers, smaller images, or more memory"
            ) from error
