"""Decides when a run saves checkpoints, and which of them it keeps."""

import os

from detectron2.utils import comm

from .checkpoint import Checkpointer, numbered_checkpoints

FINAL = "model_final"


class PeriodicSaver:
    """Saves `model_<iteration>.pth` periodically and `model_final.pth` at the end, and deletes the oldest checkpoints.

    Which ones are deleted follows from the file names in the folder, so that a resumed run also counts the checkpoints
    from before the interruption. All processes must call this, as they must call `Checkpointer.save`.
    """

    def __init__(
        self, *, checkpointer: Checkpointer, max_iter: int, period: int, max_to_keep: int | None = None
    ) -> None:
        """
        Args:
            checkpointer: The checkpointer that writes the files.
            max_iter: The number of iterations of the training; the final checkpoint is saved after the last one.
            period: The number of iterations between checkpoints.
            max_to_keep: The number of periodic checkpoints that are kept; None keeps all.

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
        """Save the final checkpoint after an iteration at which the run ends early, unless it exists already."""
        # All processes must save together, so the main process decides for all of them.
        if comm.all_gather(os.path.basename(self._checkpointer.get_checkpoint_file()))[0] != f"{FINAL}.pth":
            self._checkpointer.save(FINAL, iteration=iteration)

    def before_stop(self, iteration: int) -> None:
        """Save a checkpoint after an iteration at which the run is stopped, unless a periodic one was just saved."""
        if (iteration + 1) % self._period and not self._is_last(iteration):
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self._prune(iteration)

    def make_up(self, iteration: int) -> None:
        """Complete the work that a kill right after the checkpoint of an iteration may have prevented."""
        self._prune(iteration)
        if self._is_last(iteration):
            self.final(iteration)

    def _is_last(self, iteration: int) -> bool:
        return iteration == self._max_iter - 1

    def _prune(self, iteration: int) -> None:
        """Delete the oldest checkpoints, up to an iteration.

        Later ones exist if the user has set the run back to an earlier iteration. They are neither counted nor deleted.
        """
        if self._max_to_keep is None or not comm.is_main_process():
            return
        folder = self._checkpointer.save_dir
        reached = [name for number, name in numbered_checkpoints(folder).items() if number <= iteration]
        for name in reached[: -self._max_to_keep]:
            os.remove(os.path.join(folder, name))
