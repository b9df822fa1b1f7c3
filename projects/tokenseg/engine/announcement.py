"""The summary that a run logs before its first step: the model by its parts, device, schedule and output."""

import logging

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from torch import nn

from ..d2_compat import undistributed
from ..data.stream import TrainLoader
from .devices import device_name

logger = logging.getLogger(__name__)


def announce_training(config: DictConfig, trainer: SimpleTrainer, *, start: int) -> None:
    """Log the summary of a training before it begins. The data sets were already logged when they were read.

    Args:
        config: The config of the run.
        trainer: The trainer, with its model, its optimiser and its data.
        start: The first iteration.
    """
    settings = config.train
    if start >= settings.max_iter:
        logger.info("The training is already complete: it ended after iteration %d, and no step is left", start - 1)
    announce_model(undistributed(trainer.model))
    announce_device(config)
    rates = sorted({group["lr"] for group in trainer.optimizer.param_groups})
    between = "" if len(rates) == 1 else f" to {rates[-1]:g}"
    after = f"; evaluation every {settings.eval_period}" if settings.eval_period else "; evaluation at the end"
    logger.info(
        "Schedule: %s%s; %s, learning rate %g%s%s, checkpoint every %d iterations",
        f"iterations {start} to {settings.max_iter - 1}",
        _images(config, trainer.data_loader),
        type(trainer.optimizer).__name__,
        rates[0],
        between,
        after if config.dataloader.evaluator is not None else "; no evaluation",
        settings.checkpointer.period,
    )
    logger.info(
        "Output: %s, for checkpoints, metrics.json, TensorBoard events and log.txt (which lists every module)",
        settings.output_dir,
    )


def announce_model(model: nn.Module) -> None:
    """Log the number of parameters of a model and of each of its parts.

    The tree of its modules is long, so it is logged at the level DEBUG, which only the log file shows.
    """
    logger.debug("Model:\n%s", model)
    counted, trainable = _counts(model)
    parts = [(name, part, *_counts(part)) for name, part in model.named_children()]
    rows = [
        (f"  {name}", type(part).__name__, f"{numbers / 1e6:.2f} M", _trainable(numbers, learnt))
        for name, part, numbers, learnt in parts
        if numbers
    ]
    table = tabulate(rows, tablefmt="plain", colalign=("left", "left", "right", "left"), preserve_whitespace=True)
    words = "%s: %.2f M parameters, %.2f M of them trainable\n%s"
    logger.info(words, type(model).__name__, counted / 1e6, trainable / 1e6, table)


def announce_device(config: DictConfig) -> None:
    """Log the device of a run, its processes and threads, and its precision."""
    amp = config.train.amp
    logger.info(
        "Device: %s; %d process(es) of %d thread(s); %s%s",
        device_name(config.train.device),
        comm.get_world_size(),
        torch.get_num_threads(),
        f"mixed precision, {amp.dtype}" if amp.enabled else "float32",
        "; compiled" if OmegaConf.select(config, "train.compile") else "",
    )


def _counts(part: nn.Module) -> tuple[int, int]:
    """Count the values in all parameters of a part, and in those that are trained."""
    parameters = list(part.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def _trainable(numbers: int, learnt: int) -> str:
    if learnt == numbers:
        return ""
    return f"{learnt / 1e6:.2f} M trainable" if learnt else "frozen"


def _images(config: DictConfig, loader: object) -> str:
    """Describe the batch size and the number of epochs; "" for a loader that is not a `TrainLoader`."""
    if not isinstance(loader, TrainLoader):
        return ""
    batch, images = loader.total_batch_size, len(loader.stream.records)
    return f" of {batch} images each, {config.train.max_iter * batch / images:.1f} epochs in all"
