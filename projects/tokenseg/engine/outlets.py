"""The destinations of a run's scalars and pictures: terminal, metrics file, TensorBoard, Weights & Biases."""

import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager

import torch
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter, TensorboardXWriter, get_event_storage
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..contracts import GivesIds
from ..d2_compat import undistributed
from .devices import process_memory
from .metrics_file import MetricsFile
from .pictures import build_pictures
from .wandb_log import WandbLog


class WithSpeed(logging.LoggerAdapter):
    """A logger that adds the images per second to every line and, on a machine without a GPU, the peak memory.

    Detectron2's own line only has the time of an iteration and the memory of a GPU.
    """

    def __init__(self, logger: logging.Logger, *, batch_size: int, window: int) -> None:
        """
        Args:
            logger: The logger to which the lines are passed.
            batch_size: The number of images in an iteration, over all processes.
            window: The number of iterations over which the speed is averaged.
        """
        super().__init__(logger, {})
        self._batch_size, self._window = batch_size, window

    def process(self, msg: str, kwargs: MutableMapping) -> tuple[str, MutableMapping]:
        """Add speed and memory to a line. In the first iterations no time has been measured yet."""
        storage, words = get_event_storage(), [msg.strip()]
        if "time" in storage.histories():
            words.append(f"images/s: {self._batch_size / storage.history('time').avg(self._window):.3g}")
        if not torch.cuda.is_available() and (peak := process_memory("VmHWM")):
            words.append(f"max_mem: {peak / 2**20:.0f}M")
        return "  ".join(words), kwargs


def build_writers(config: DictConfig, metrics: MetricsFile, *, resume: bool) -> list[EventWriter]:
    """Build the writers of a run's scalars.

    Args:
        config: The config of the run.
        metrics: The writer of the metrics file, which is one of them.
        resume: Whether the run continues an earlier one.
    """
    settings = config.train
    printer = CommonMetricPrinter(settings.max_iter)
    printer.logger = WithSpeed(
        printer.logger, batch_size=config.dataloader.train.total_batch_size, window=settings.log_period
    )
    writers = [printer, metrics, TensorboardXWriter(settings.output_dir)]
    return [*writers, WandbLog(config, resume=resume)] if OmegaConf.select(settings, "wandb.project") else writers


def picture_hook(
    config: DictConfig,
    model: nn.Module,
    whole: Callable[[], AbstractContextManager[nn.Module]],
    writers: Sequence[EventWriter],
) -> Callable | None:
    """Build the function that draws the predictions for some test images after an evaluation.

    Args:
        config: The config of the run.
        model: The model that is trained.
        whole: A function that returns a context manager, which gives the model to evaluate. All processes enter
            it together.
        writers: The writers of scalars and pictures.

    Returns:
        A function of the results and the iteration, which all processes must call and in which the main one draws. None
        if the config requests no pictures, or the model cannot give class ids.
    """
    draw = build_pictures(config) if isinstance(undistributed(model), GivesIds) else None
    if draw is None or config.dataloader.evaluator is None:
        return None

    def show(results: Mapping[str, Mapping[str, float]], iteration: int) -> None:
        with whole() as evaluated:
            pictures = draw(evaluated, results) if comm.is_main_process() else {}
        for name, pixels in pictures.items():
            get_event_storage().put_image(name, pixels.transpose(2, 0, 1))
        for writer in writers:
            if isinstance(writer, WandbLog):
                writer.write_pictures(pictures, iteration)

    return show
