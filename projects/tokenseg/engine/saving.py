"""When a run saves its checkpoints, and which of them it keeps."""

import os

from detectron2.utils import comm

from .checkpoint import Checkpointer, numbered_checkpoints

FINAL = "model_final"


class PeriodicSaver:
    """Saves `model_<iteration>.pth` periodically and `model_final.pth` at the end, and deletes the oldest.

    The names in the folder decide what is deleted, so that a resumed run also counts the checkpoints from before the
    cut. It must be called in all processes, as `Checkpointer.save` must.
    """

    def __init__(
        self, *, checkpointer: Checkpointer, max_iter: int, period: int, max_to_keep: int | None = None
    ) -> None:
        """
        Args:
            checkpointer: The checkpointer that writes the files.
            max_iter: The number of iterations of the training; the final checkpoint is saved after the last one.
            period: The number of iterations between checkpoints.
            max_to_keep: The number of numbered checkpoints that are kept; None keeps all.

        Raises:
            ValueError: The period or the number to keep is below 1.
        """
        for name, value in (("period", period), ("max_to_keep", max_to_keep)):
            if value is not None and value < 1:
                raise ValueError(f"train.checkpointer.{name} is {value}; wanted 1 or more")
        self._checkpointer, self._max_iter = checkpointer, max_iter
        self._period, self._max_to_keep = period, max_to_keep

    def __call__(self, iteration: int) -> None:
        """Save the checkpoints that are due after an iteration."""
        if (iteration + 1) % self._period == 0:
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self._prune(iteration)
        if self._is_last(iteration):
            self._checkpointer.save(FINAL, iteration=iteration)

    def final(self, iteration: int) -> None:
        """Save the final checkpoint after an iteration at which the run ends early, unless it is there."""
        # what the main process finds counts, for all of them have to save together
        if comm.all_gather(os.path.basename(self._checkpointer.get_checkpoint_file()))[0] != f"{FINAL}.pth":
            self._checkpointer.save(FINAL, iteration=iteration)

    def before_stop(self, iteration: int) -> None:
        """Save a checkpoint after an iteration at which the run is stopped, unless one was due and is there."""
        if (iteration + 1) % self._period and not self._is_last(iteration):
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self._prune(iteration)

    def make_up(self, iteration: int) -> None:
        """Do what a kill right after the checkpoint of an iteration may have prevented."""
        self._prune(iteration)
        if self._is_last(iteration):
            self.final(iteration)

    def _is_last(self, iteration: int) -> bool:
        return iteration == self._max_iter - 1

    def _prune(self, iteration: int) -> None:
        """Delete the oldest checkpoints; those of later iterations, left from before a run was set back, are kept."""
        if self._max_to_keep is None or not comm.is_main_process():
            return
        folder = self._checkpointer.save_dir
        reached = [name for number, name in numbered_checkpoints(folder).items() if number <= iteration]
        for name in reached[: -self._max_to_keep]:
            os.remove(os.path.join(folder, name))
