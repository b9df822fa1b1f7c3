"""The hook that measures tokens during training and warns of collapse, which otherwise looks like slow learning."""

import logging
from collections.abc import Mapping, Sequence

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from ..d2_compat import undistributed
from ..data.stream import TrainLoader
from ..engine.precision import autocast
from .probes import measure

logger = logging.getLogger(__name__)

_MEANINGS = {
    "image_x_token": "the tokens are the same for every image, or the same everywhere in an image",
    "cosine": "the tokens of an image are almost the same vector",
    "dead_tokens": "tokens are the same in every image",
    "dead_regions": "regions cover less than one cell",
    "entropy": "attention is on a single position, or uniform over all of them",
}


class TokenAlarms(HookBase):
    """Measures the tokens, attention and regions of a model on a few images, logs the values, and warns of collapse.

    The images are the first of the training stream, with its augmentation; they are the same in all measurements,
    before and after a resume. Every process runs the model on them in eval mode. The alarms do not affect the training:
    a run with them is bitwise equal to a run without.
    """

    def __init__(
        self,
        *,
        period: int,
        images: int,
        patience: int,
        log_period: int,
        limits: Mapping[str, Sequence[float | None]],
    ) -> None:
        """
        Args:
            period: The number of iterations between measurements, a multiple of `log_period`; 0 disables them.
            images: The number of images, 2 or more.
            patience: The number of consecutive measurements beyond a limit that cause a warning. A single one should
                not, since the first measurements of a training from scratch may lie beyond a limit.
            log_period: The number of iterations between rows of metrics.json, to which the values are written.
            limits: Name of a measure -> the lowest and the highest value without alarm, each of which may be None.

        Raises:
            ValueError: A number is out of range, or `limits` names an unknown measure, or its bounds are not a pair.
        """
        if period < 0 or period % log_period:
            raise ValueError(
                f"train.alarms.period is {period}; wanted 0 to disable alarms, or a multiple of train.log_period, "
                f"{log_period}, since only then does metrics.json have a row for the values"
            )
        if images < 2 or patience < 1:
            raise ValueError(
                f"train.alarms.images is {images} and train.alarms.patience {patience}; wanted 2 or more, and 1 or more"
            )
        unknown = [name for name, bounds in limits.items() if name not in _MEANINGS or len(bounds) != 2]
        if unknown:
            raise ValueError(
                f"train.alarms.limits has {', '.join(unknown)}; wanted pairs of the lowest and the highest value, for "
                f"{', '.join(_MEANINGS)}"
            )
        self._period, self._images, self._patience, self._limits = period, images, patience, dict(limits)
        self._inputs: list[dict] = []
        self._beyond: dict[str, int] = {}  # name of a value -> the number of latest measurements beyond its limit

    def before_train(self) -> None:
        if not self._period:
            return
        loader = self.trainer.data_loader
        if not isinstance(loader, TrainLoader):
            raise ValueError(
                f"train.alarms.period is {self._period}, but dataloader.train is a {type(loader).__name__}, which "
                "cannot give its first images again; wanted tokenseg.data.stream.TrainLoader, or a period of 0"
            )
        self._inputs = [loader.stream[place] for place in range(self._images)]

    def after_step(self) -> None:
        if not self._period or (self.trainer.iter + 1) % self._period:
            return
        # Compiled parts run uncompiled, since torch would compile them once more for eval mode.
        precision = autocast(self.trainer.device, self.trainer.amp_dtype)
        with self.trainer.whole() as model, precision, torch.compiler.set_stance("force_eager"):
            values = measure(undistributed(model), self._inputs)
        for name, value in values.items():
            self.trainer.storage.put_scalar(f"alarms/{name}", value, smoothing_hint=False)
        self._judge(values)
        if not values:
            if comm.is_main_process():
                logger.warning("train.alarms.period is %d, but the model has no tokens to measure", self._period)
            self._period = 0  # in all processes, since they must run the model together or not at all

    def _judge(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            kind = name.rpartition("/")[2]
            low, high = self._limits.get(kind, (None, None))
            if (low is None or value >= low) and (high is None or value <= high):
                if self._beyond.pop(name, 0) >= self._patience and comm.is_main_process():
                    logger.info("Alarm over: %s is %.6g after iteration %d", name, value, self.trainer.iter)
                continue
            self._beyond[name] = self._beyond.get(name, 0) + 1
            if self._beyond[name] == self._patience and comm.is_main_process():
                bound = f"below {low}" if low is not None and value < low else f"above {high}"
                logger.warning(
                    "Alarm: %s is %.6g, %s, in %d consecutive measurements up to iteration %d: %s. The loss alone does "
                    "not tell such a collapse from slow learning",
                    *(name, value, bound, self._patience, self.trainer.iter, _MEANINGS[kind]),
                )

    def state_dict(self) -> dict:
        return {"beyond": dict(self._beyond)} if self._beyond else {}

    def load_state_dict(self, state: dict) -> None:
        self._beyond = dict(state["beyond"])
