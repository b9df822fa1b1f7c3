"""When a run saves its checkpoints, and which of them stay."""

import os

from detectron2.utils import comm

from .checkpoint import Checkpointer, numbered_checkpoints

FINAL = "model_final"


class PeriodicSaver:
    """Saves `model_<iteration>.pth` every so often and `model_final.pth` at the end, and deletes the oldest.

    What is deleted follows from the names in the folder, so that a resumed run counts those of the run before. All
    processes call it, as `Checkpointer.save` asks for.
    """

    def __init__(
        self, *, checkpointer: Checkpointer, max_iter: int, period: int, max_to_keep: int | None = None
    ) -> None:
        """
        Args:
            checkpointer: saves.
            max_iter: iterations of the training, after the last of which the final checkpoint is saved.
            period: iterations between checkpoints.
            max_to_keep: how many numbered checkpoints stay; None keeps all.

        Raises:
            ValueError: numbers below 1.
        """
        for name, value in (("period", period), ("max_to_keep", max_to_keep)):
            if value is not None and value < 1:
                raise ValueError(f"train.checkpointer.{name} is {value}; wanted 1 or more")
        self._checkpointer, self._max_iter = checkpointer, max_iter
        self._period, self._max_to_keep = period, max_to_keep

    def __call__(self, iteration: int) -> None:
        """Save what is due after an iteration."""
        if (iteration + 1) % self._period == 0:
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self._prune(iteration)
        if self._is_last(iteration):
            self._checkpointer.save(FINAL, iteration=iteration)

    def make_up(self, iteration: int) -> None:
        """Do what a kill right after the checkpoint of an iteration has prevented."""
        self._prune(iteration)
        name = os.path.basename(self._checkpointer.get_checkpoint_file())
        if self._is_last(iteration) and name != f"{FINAL}.pth":
            self._checkpointer.save(FINAL, iteration=iteration)

    def _is_last(self, iteration: int) -> bool:
        return iteration == self._max_iter - 1

    def _prune(self, iteration: int) -> None:
        """Delete the oldest; checkpoints of later iterations, of a run that was rewound, neither count nor go."""
        if self._max_to_keep is None or not comm.is_main_process():
            return
        folder = self._checkpointer.save_dir
        reached = [name for number, name in numbered_checkpoints(folder).items() if number <= iteration]
        for name in reached[: -self._max_to_keep]:
            os.remove(os.path.join(folder, name))
