"""Where the scalars and the pictures of a run go."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter, TensorboardXWriter, get_event_storage
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..contracts import GivesIds
from ..d2_compat import undistributed
from .metrics_file import MetricsFile
from .pictures import build_pictures
from .wandb_log import WandbLog


def build_writers(config: DictConfig, metrics: MetricsFile, *, resume: bool) -> list[EventWriter]:
    """The places where the scalars of a run go."""
    settings = config.train
    writers = [CommonMetricPrinter(settings.max_iter), metrics, TensorboardXWriter(settings.output_dir)]
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
