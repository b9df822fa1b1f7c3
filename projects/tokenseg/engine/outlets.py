"""Where the scalars and the pictures of a run go."""

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
    """A logger that adds the images per second to every line and, on the CPU, the memory of the process: Detectron2's
    own line has the time of an iteration and the memory of a GPU."""

    def __init__(self, logger: logging.Logger, *, batch_size: int, window: int) -> None:
        """
        Args:
            logger: The logger that gets the lines.
            batch_size: The number of images of an iteration, over all processes.
            window: The number of iterations whose mean is the speed.
        """
        super().__init__(logger, {})
        self._batch_size, self._window = batch_size, window

    def process(self, msg: str, kwargs: MutableMapping) -> tuple[str, MutableMapping]:
        """Add to a line; the first iterations have no time yet."""
        storage, words = get_event_storage(), [msg.strip()]
        if "time" in storage.histories():
            words.append(f"images/s: {self._batch_size / storage.history('time').avg(self._window):.3g}")
        if not torch.cuda.is_available() and (peak := process_memory("VmHWM")):
            words.append(f"max_mem: {peak / 2**20:.0f}M")
        return "  ".join(words), kwargs


def build_writers(config: DictConfig, metrics: MetricsFile, *, resume: bool) -> list[EventWriter]:
    """The places where the scalars of a run go."""
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
    """A function that draws some test images after an evaluation, as a model sees them; None if none are wanted.

    Args:
        config: The config of the run.
        model: The model that trains.
        whole: A context with the model that is evaluated; all processes enter it together.
        writers: The places where scalars and pictures go.

    Returns:
        A function of results and iteration, which all processes call and in which the main one draws.
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
