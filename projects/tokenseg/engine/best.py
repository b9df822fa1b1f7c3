"""The best checkpoint of a run, however often the run was interrupted, resumed or extended."""

import logging
import math
import os
from collections.abc import Mapping

from detectron2.utils import comm

from ..checkpoint_file import read_checkpoint
from .checkpoint import Checkpointer

logger = logging.getLogger(__name__)

NAME = "model_best"


class BestCheckpoint:
    """Keeps `model_best.pth`, the weights of the best evaluation so far, together with its value and iteration.

    The value and the iteration are stored in the file itself, which is replaced in one atomic move, and `resume` reads
    them from there. So there is no moment at which a kill could lose the best weights or leave a value that does not
    belong to them.

    Attributes:
        best: The highest value so far; minus infinity before the first evaluation.
        iteration: The iteration after which it was measured; -1 before the first evaluation.
    """

    def __init__(self, *, metric: str, checkpointer: Checkpointer) -> None:
        """
        Args:
            metric: The name `<task>/<name>` of the metric in the evaluator's results; higher values are better.
            checkpointer: The checkpointer that saves the current model.
        """
        self.metric, self.best, self.iteration = metric, -math.inf, -1
        self._checkpointer = checkpointer

    def resume(self) -> None:
        """Read the best value so far from the file that the interrupted run left, if there is one.

        Raises:
            ValueError: The file cannot be read, or it was chosen by another metric.
        """
        path = os.path.join(self._checkpointer.save_dir, f"{NAME}.pth")
        if not os.path.exists(path):
            return
        stored = read_checkpoint(path, mmap=True)
        if stored.get("best_metric") != self.metric:
            raise ValueError(
                f"{path} is the best checkpoint by {stored.get('best_metric')}, but train.best_metric is "
                f"{self.metric}; wanted the metric of the run that is resumed, or this file moved to another folder"
            )
        self.best, self.iteration = stored["best_value"], stored["iteration"]
        logger.info("Best %s so far: %.2f, at iteration %d", self.metric, self.best, self.iteration)

    def __call__(self, results: Mapping[str, Mapping[str, float]], iteration: int) -> None:
        """Save the model if it is better than all before. All processes must call this after every evaluation.

        Args:
            results: The results `{task: {name: value}}` on the main process; other processes may pass anything.
            iteration: The iteration that has just ended.

        Raises:
            ValueError: The results lack the metric.
        """
        # All processes need the main one's value, since they must save together or not at all.
        value = comm.all_gather(self._value(results) if comm.is_main_process() else None)[0]
        if value > self.best:
            self._checkpointer.save(NAME, tag=False, iteration=iteration, best_value=value, best_metric=self.metric)
            self.best, self.iteration = value, iteration
        if self.iteration < 0:  # no value so far was a number, so no comparison was true
            logger.warning("No best checkpoint: %s is %s", self.metric, value)
            return
        logger.info("Best %s: %.2f, at iteration %d", self.metric, self.best, self.iteration)

    def _value(self, results: Mapping[str, Mapping[str, float]]) -> float:
        task, _, name = self.metric.partition("/")
        try:
            return float(results[task][name])
        except KeyError:
            # A hyphen marks the metric of a single class, and there are too many of these to list.
            found = [f"{task}/{name}" for task, metrics in results.items() for name in metrics if "-" not in name]
            raise ValueError(f"train.best_metric is '{self.metric}'; the evaluation gave {found}") from None
