"""The body of the command `train`, which trains or evaluates the model of a config in one or several processes."""

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
    """Train, evaluate, or print the config, depending on the arguments.

    Returns:
        The exit code if the run was stopped by a signal, otherwise None.

    Raises:
        ValueError: The config or the arguments do not fit, see `check`, or a launcher and `--num-gpus` conflict.
        ChildProcessError: One of several processes failed. The message contains its traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    place = place_given(os.environ)
    if place and (args.num_gpus > 1 or args.num_machines > 1):
        raise ValueError(
            f"--num-gpus is {args.num_gpus} and --num-machines is {args.num_machines}, but a launcher has started "
            f"{place.world_size} process(es); wanted no such flags, since torchrun and srun set the number of processes"
        )
    config = load_config(args.config_file, args.opts, trust_config=args.trust_config)
    if args.print_config:
        print(yaml.safe_dump(as_saved(config), sort_keys=False), end="")
        return None
    set_class_weights(config, training=not args.eval_only)
    device = check(config, args, processes=place.world_size if place else args.num_gpus * args.num_machines)
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # parts of Detectron2 use visible GPUs in any case
    do = functools.partial(work, config, args, device)
    try:
        if place or args.num_gpus * args.num_machines == 1:
            if place:
                prepare_to_leave()
            if place and place.meeting == "env://":
                die_with_parent()  # otherwise the processes would go on after torchrun was killed
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
    """Replace `dataset.class_weights=balanced` by weights computed from the label maps of the training set.

    Without training there are no losses, so the weights become None.

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
    """Return the places, such as ranks and addresses, of the processes to start on this machine."""
    meeting = free_meeting() if args.dist_url == "auto" else args.dist_url
    first, size = args.machine_rank * args.num_gpus, args.num_machines * args.num_gpus
    return [Place(first + number, size, number, args.num_gpus, meeting) for number in range(args.num_gpus)]


def _whats_next(config: DictConfig, args: argparse.Namespace) -> str:
    if args.eval_only:
        return "the evaluation was not completed"
    path = last_checkpoint(config.train.output_dir)
    return f"--resume continues from {path}" if path else "no training step was completed"


def check(config: DictConfig, args: argparse.Namespace, *, processes: int) -> str:
    """Check config and arguments before any process starts, create the output folder, and return the device.

    Args:
        config: The config.
        args: The arguments of the command.
        processes: The number of processes of the run.

    Returns:
        The device of all processes, `cpu` or `cuda`.

    Raises:
        ValueError: The device, the number of processes, the weights or the output folder cannot be used.
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
        raise ValueError("--eval-only needs weights: train.init_checkpoint=FILE, or --resume for the last checkpoint")
    if not args.eval_only and not resumable:
        check_fresh_start(config)
    before = os.path.join(settings.output_dir, "config.yaml")
    if resumable and not args.eval_only and os.path.exists(before):
        check_changes(config, before)
    make_output_dir(settings.output_dir, resume=args.resume, training=not args.eval_only, overwrite=settings.overwrite)
    return device


def work(config: DictConfig, args: argparse.Namespace, device: str, stop: StopRequest, place: Place | None) -> None:
    """Train or evaluate in one process.

    Args:
        config: The config.
        args: The arguments of the command.
        device: The device, `cpu` or `cuda`.
        stop: The request that stops the run after a signal.
        place: The place of this process among several; None if it is the only one.

    Raises:
        ChildProcessError: A data loading worker was killed.
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
        except RuntimeError as error:  # torch has no specific exception for a killed worker
            if not str(error).startswith("DataLoader worker"):
                raise
            reason = " ".join(str(error).split())
            raise ChildProcessError(
                f"a data loading worker was killed, most likely because memory ran out ({reason}); wanted fewer "
                "dataloader.train.num_workers and dataloader.test.num_workers, smaller images, or more memory"
            ) from error
