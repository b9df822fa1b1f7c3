"""The work after a training step: checkpoint, evaluation and metrics, in an order that makes a kill harmless."""

from collections.abc import Callable, Mapping, Sequence

from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter

from .best import BestCheckpoint
from .metrics_file import WINDOW, MetricsFile
from .saving import PeriodicSaver
from .stopping import Stopped, StopRequest


class NoImprovement(Exception):
    """The run ends before its last iteration, because no later evaluation was better than the best one."""


class ScalarHistory(HookBase):
    """Carries recent scalars over a resume.

    Losses are logged as medians over several iterations. Right after a resume, some of these lie before the
    interruption, so their values are kept in the checkpoint.
    """

    def __init__(self) -> None:
        self._state: dict[str, dict[str, list]] = {}

    def before_train(self) -> None:
        """Store the values from before the interruption again, each at its own iteration."""
        storage: EventStorage = self.trainer.storage
        start = storage.iter
        for kind, histories in self._state.items():
            for name, values in histories.items():
                for value, iteration in values:
                    storage.iter = iteration
                    storage.put_scalar(name, value, smoothing_hint=kind == "smoothed")
        storage.iter = start

    def state_dict(self) -> dict:
        storage: EventStorage = self.trainer.storage
        smoothed = [name for name, smooth in storage.smoothing_hints().items() if smooth]
        current = {name: pair for name, pair in storage.latest().items() if pair[1] == storage.iter}
        return {
            "smoothed": {name: _plain(storage.history(name).values()[-WINDOW:]) for name in smoothed},
            "plain": {name: _plain([pair]) for name, pair in current.items() if name not in smoothed},
        }

    def load_state_dict(self, state: dict) -> None:
        self._state = state


def _plain(values: Sequence[tuple[float, int]]) -> list[list]:
    return [[float(value), int(iteration)] for value, iteration in values]


class Bookkeeping(HookBase):
    """Saves, evaluates and logs after a step, in this order.

    The checkpoint comes first, so that a kill during an evaluation costs no step. The row of metrics comes last, as
    proof that the evaluation was done and the best checkpoint updated. A resumed run therefore begins with whatever was
    due after the last step of its checkpoint if that row is missing. Doing any of this twice gives the same result. A
    run that is asked to stop saves a checkpoint, and leaves whatever else is due to the resumed run in the same way.
    """

    def __init__(
        self,
        *,
        max_iter: int,
        begin: Callable[[], None],
        save: PeriodicSaver,
        evaluate: Callable[[], Mapping[str, Mapping[str, float]]] | None,
        eval_period: int,
        best: BestCheckpoint,
        metrics: MetricsFile,
        writers: Sequence[EventWriter],
        log_period: int,
        stop: StopRequest,
        patience: int = 0,
        show: Callable[[Mapping[str, Mapping[str, float]], int], None] | None = None,
    ) -> None:
        """
        Args:
            max_iter: The number of iterations of the training.
            begin: A function that is called in all processes after the first successful step, before anything is saved.
                Only this function may change the files that an earlier run left in the folder.
            save: The object that saves periodic and final checkpoints.
            evaluate: A function that returns `{task: {name: value}}` on the main process, or None if the config has no
                evaluator.
            eval_period: The number of iterations between evaluations; 0 evaluates only after the last iteration.
            best: The object that keeps the best checkpoint.
            metrics: The metrics file, whose rows prove which evaluations were done. It is one of the writers.
            writers: The writers of scalars, which write after every evaluation and every `log_period`. Only the main
                process uses them.
            log_period: The number of iterations between two lines of the log.
            stop: The request that can stop the run after a step or during an evaluation.
            patience: The number of evaluations without a new best after which the run ends early; 0 never ends it
                early.
            show: A function that draws pictures from the results of an evaluation and its iteration, or None. It is
                called in all processes.

        Raises:
            ValueError: A period is out of range, or `patience` is set but nothing is evaluated before the end.
        """
        if eval_period < 0 or log_period < 1:
            raise ValueError(
                f"train.eval_period is {eval_period} and train.log_period {log_period}; wanted 0 or more, and 1 or more"
            )
        if patience and (evaluate is None or not eval_period):
            raise ValueError(
                f"train.patience is {patience} and train.eval_period {eval_period}, so that nothing is evaluated "
                "before the end; wanted a train.eval_period and an evaluator, or no patience"
            )
        self._patience, self._show = patience * eval_period, show
        self._max_iter, self._begin, self._save, self._stop = max_iter, begin, save, stop
        self._evaluate, self._eval_period, self._best = evaluate, eval_period, best
        self._metrics, self._writers, self._log_period = metrics, writers if comm.is_main_process() else (), log_period

    def before_train(self) -> None:
        """Catch up on what was due after the last step of the resumed checkpoint."""
        start = self.trainer.start_iter
        if start == 0:
            return
        last = start - 1
        # Whatever is saved or logged now belongs to the last iteration of the interrupted run.
        self.trainer.iter = self.trainer.storage.iter = last
        self._best.resume()
        self._save.make_up(last)
        if not self._is_complete(last):
            self._report(last)
        self._end_without_improvement(last)
        self.trainer.iter = self.trainer.storage.iter = start

    def after_step(self) -> None:
        iteration = self.trainer.iter
        if iteration == self.trainer.start_iter:
            self._begin()
        self._save(iteration)
        if self.trainer.stopping:
            self._save_before_stop(iteration)
            raise self._stop.stopped()
        if self._evaluates(iteration) or self._logs(iteration):
            self._report(iteration)
            self._end_without_improvement(iteration)

    def after_train(self) -> None:
        for writer in self._writers:
            writer.close()

    def _evaluates(self, iteration: int) -> bool:
        return self._evaluate is not None and self._is_due(iteration, self._eval_period)

    def _logs(self, iteration: int) -> bool:
        return self._is_due(iteration, self._log_period)

    def _is_due(self, iteration: int, period: int) -> bool:
        return (period > 0 and (iteration + 1) % period == 0) or iteration == self._max_iter - 1

    def _is_complete(self, iteration: int) -> bool:
        """Return whether everything due after an iteration was done, as its row proves; later rows are discarded."""
        evaluates, logs = self._evaluates(iteration), self._logs(iteration)
        done = None
        if comm.is_main_process():
            done = self._metrics.rewind(
                iteration,
                due=evaluates or logs,
                complete=lambda row: self._best.metric in row or (logs and not evaluates),
            )
        return comm.all_gather(done)[0] or not (evaluates or logs)

    def _save_before_stop(self, iteration: int) -> None:
        self._save.before_stop(iteration)
        comm.synchronize()  # The first process to exit ends all others, so it must wait for the one that writes.

    def _end_without_improvement(self, iteration: int) -> None:
        """End the run if the best evaluation lies too far back. The row of this iteration must have been written.

        Raises:
            NoImprovement: The best evaluation lies too far back. The final checkpoint has been saved.
        """
        best = self._best.iteration
        if not self._patience or not self._evaluates(iteration) or best < 0 or iteration - best < self._patience:
            return
        self._save.final(iteration)
        raise NoImprovement(
            f"the training ends early: {self._best.metric} reached {self._best.best:.2f} at iteration {best} and has "
            f"not exceeded it for {self._patience} iterations (train.patience)"
        )

    def _report(self, iteration: int) -> None:
        """Evaluate if an evaluation is due, then write the row of metrics."""
        if self._evaluate is not None and self._evaluates(iteration):
            try:
                results = self._evaluate()
            except Stopped:
                self._save_before_stop(iteration)
                raise
            self._best(results, iteration)
            if comm.is_main_process():
                for name, value in flatten_results_dict(results).items():
                    self.trainer.storage.put_scalar(name, float(value), smoothing_hint=False)
            if self._show is not None:
                self._show(results, iteration)
            # Otherwise the other processes would wait in their next step, and the log would blame slow data for it.
            comm.synchronize()
        for writer in self._writers:
            writer.write()
