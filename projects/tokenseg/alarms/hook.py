"""The hook that measures tokens while a model trains, and warns of collapse, which looks like slow learning."""

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
    "image_x_token": "tokens say the same of every image, or the same everywhere in an image",
    "cosine": "the tokens of an image are nearly one vector",
    "dead_tokens": "tokens are the same in every image",
    "dead_regions": "regions hold less than a cell",
    "entropy": "attention sees one position alone, or all of them alike",
}


class TokenAlarms(HookBase):
    """Measures tokens, attention and regions of a model on some images, logs the numbers, and warns.

    The images are the first of the training stream, as it augments them; they are the same in all measurements, before
    and after a resume. The model runs on them in eval mode, in every process; a run with alarms trains bit by bit as
    one without.
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
            period: The number of iterations between measurements, a multiple of `log_period`; 0 measures nothing.
            images: The number of images, 2 or more.
            patience: The number of measurements in a row beyond a limit that make a warning; the first of a training
                from scratch may lie beyond it.
            log_period: The number of iterations between rows of metrics.json, in which the numbers stand.
            limits: Name of a measure -> the lowest and the highest number that is no alarm; null is no limit.

        Raises:
            ValueError: A number or a limit is not what it may be.
        """
        if period < 0 or period % log_period:
            raise ValueError(
                f"train.alarms.period is {period}; wanted 0, which is off, or a multiple of train.log_period, "
                f"{log_period}, since metrics.json has a row then"
            )
        if images < 2 or patience < 1:
            raise ValueError(
                f"train.alarms.images is {images} and train.alarms.patience {patience}; wanted 2 or more, and 1 or more"
            )
        unknown = [name for name, bounds in limits.items() if name not in _MEANINGS or len(bounds) != 2]
        if unknown:
            raise ValueError(
                f"train.alarms.limits has {', '.join(unknown)}; wanted the lowest and the highest number of "
                f"{', '.join(_MEANINGS)}"
            )
        self._period, self._images, self._patience, self._limits = period, images, patience, dict(limits)
        self._inputs: list[dict] = []
        self._beyond: dict[str, int] = {}

    def before_train(self) -> None:
        if not self._period:
            return
        loader = self.trainer.data_loader
        if not isinstance(loader, TrainLoader):
            raise ValueError(
                f"train.alarms.period is {self._period}, but dataloader.train is a {type(loader).__name__}, whose "
                "first images cannot be had again; wanted tokenseg.data.stream.TrainLoader, or a period of 0"
            )
        self._inputs = [loader.stream[place] for place in range(self._images)]

    def after_step(self) -> None:
        if not self._period or (self.trainer.iter + 1) % self._period:
            return
        # compiled parts run uncompiled: eval mode would compile them once more
        precision = autocast(self.trainer.device, self.trainer.amp_dtype)
        with self.trainer.whole() as model, precision, torch.compiler.set_stance("force_eager"):
            values = measure(undistributed(model), self._inputs)
        for name, value in values.items():
            self.trainer.storage.put_scalar(f"alarms/{name}", value, smoothing_hint=False)
        self._judge(values)
        if not values:
            if comm.is_main_process():
                logger.warning("train.alarms.period is %d, but the model has no tokens to watch", self._period)
            self._period = 0  # in all processes, which have to run the model together

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
                bound = f"under {low}" if low is not None and value < low else f"over {high}"
                logger.warning(
                    "Alarm: %s is %.6g, %s, in %d measurements in a row until iteration %d: %s. Collapse looks like "
                    "slow learning",
                    *(name, value, bound, self._patience, self.trainer.iter, _MEANINGS[kind]),
                )

    def state_dict(self) -> dict:
        return {"beyond": dict(self._beyond)} if self._beyond else {}

    def load_state_dict(self, state: dict) -> None:
        self._beyond = dict(state["beyond"])
