"""An exponential moving average of the weights, which is evaluated and used in their place."""

from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..d2_compat import undistributed


class WeightAverage(HookBase):
    """Averages the weights after every step: average = decay * average + (1 - decay) * weights.

    The first step begins the average. Buffers, such as the statistics of batch norms, are those of the last step. A
    checkpoint holds the average beside the weights, so that a resumed run goes on with both.

    Attributes:
        model: The model with the averaged weights, in eval mode, on the device of the one that trains.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """
        Args:
            model: The model that trains; its copy takes as much memory as its weights.
            decay: The share that the average keeps at a step, at least 0 and below 1.

        Raises:
            ValueError: The decay is out of range.
        """
        if not 0 <= decay < 1:
            raise ValueError(f"train.ema.decay is {decay}; wanted 0 or more, and below 1")
        self._average = AveragedModel(undistributed(model), multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._average.eval().requires_grad_(False)

    @property
    def model(self) -> nn.Module:
        return self._average.module

    @torch.no_grad()
    def after_step(self) -> None:
        self._average.update_parameters(undistributed(self.trainer.model))

    def state_dict(self) -> dict[str, Any]:
        """The averaged model's weights, by its own names, and the number of steps that went into them."""
        return {"steps": self._average.n_averaged, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._average.n_averaged.copy_(state["steps"])
        self.model.load_state_dict(state["model"])
