"""An exponential moving average (EMA) of the weights, which is evaluated and saved for use in their place."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..d2_compat import undistributed
from .sharding import Replica, local, spread_like


class WeightAverage(HookBase):
    """Averages the weights after every step: average = decay * average + (1 - decay) * weights.

    The first step initialises the average with its weights. Buffers, such as the statistics of batch norms, are not
    averaged: they are those of the last step. A checkpoint holds both the average and the weights, so that a resumed
    run continues with both. The average of sharded weights is sharded in the same way.
    """

    def __init__(self, model: nn.Module, *, decay: float, replica: Replica) -> None:
        """
        Args:
            model: The model that is trained. The average takes as much memory as its weights.
            decay: The weight of the old average at each step, at least 0 and below 1.
            replica: A replica of the model, which is filled with the average whenever the averaged model is run.

        Raises:
            ValueError: The decay is out of range.
        """
        if not 0 <= decay < 1:
            raise ValueError(f"train.ema.decay is {decay}; wanted 0 or more, and below 1")
        self._model, self._replica = undistributed(model), replica
        # A parameter that several modules share has several names but only one average.
        copies = {parameter: parameter.detach().clone() for parameter in self._model.parameters()}
        self._weights = {
            name: copies[parameter] for name, parameter in self._model.named_parameters(remove_duplicate=False)
        }
        self._steps, self._average = torch.tensor(0), get_ema_multi_avg_fn(decay)

    def whole(self) -> AbstractContextManager[nn.Module]:
        """Return a context with the averaged model. All processes enter it together; each can then run it alone."""
        return self._replica.holding(self._model, self._weights)

    @torch.no_grad()
    def after_step(self) -> None:
        weights = dict(self._model.named_parameters())
        averages = [local(self._weights[name]) for name in weights]
        current = [local(weight.detach()) for weight in weights.values()]
        if self._steps > 0:
            self._average(averages, current, self._steps)
        else:
            for average, weight in zip(averages, current, strict=True):
                average.copy_(weight)
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights, by the model's own names, and the number of steps that they average."""
        model = self._model.state_dict()
        model.update(self._weights)
        return {"steps": self._steps, "model": model}

    def load_state_dict(self, state: dict) -> None:
        self._steps = state["steps"].clone()
        for name, average in self._weights.items():
            average.copy_(spread_like(state["model"][name], average))
