"""What follows a step: its checkpoint, its evaluation, its row of metrics, in an order that no kill can harm."""

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
    """The run has ended before its last iteration, because further evaluations were no better."""


class ScalarHistory(HookBase):
    """Carries scalars over a resume: losses are logged as medians over iterations, some of which lie before the cut."""

    def __init__(self) -> None:
        self._state: dict[str, dict[str, list]] = {}

    def before_train(self) -> None:
        """Store the values from before the cut again, each at its iteration."""
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

    The checkpoint comes first, so that a kill during an evaluation costs no step. The row of metrics comes last: it
    proves that the evaluation was done and the best checkpoint updated. So a resumed run begins with whatever was due
    after the last step of its checkpoint and has no such proof. Doing any of this twice gives the same result. A run
    that is asked to stop saves a checkpoint and leaves all that is due behind it to the resumed one in the same way.
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
            begin: A function that is called in all processes once the first step has gone well, before anything is
                saved; only it may change what an earlier run has left in the folder.
            save: The saver of the checkpoints that are due.
            evaluate: A function that returns `{task: {name: value}}` on the main process, or None if the config has
                nothing to evaluate with.
            eval_period: The number of iterations between evaluations; 0 evaluates only after the last iteration.
            best: The keeper of the best checkpoint.
            metrics: The file whose rows prove what was done; it is one of the writers.
            writers: The writers of the main process, which run after every evaluation and every `log_period`.
            log_period: The number of iterations between lines of the log.
            stop: What the run is stopped by, after a step or in an evaluation.
            patience: The number of evaluations without a better one after which the run ends; 0 goes on to the end.
            show: A function that draws what an evaluation found, from its results and its iteration; it is called in
                all processes.

        Raises:
            ValueError: A period is out of range, or there is patience for no evaluation.
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
        """Make up for what was due after the last step of the resumed checkpoint."""
        start = self.trainer.start_iter
        if start == 0:
            return
        last = start - 1
        self.trainer.iter = self.trainer.storage.iter = last  # a checkpoint that is saved now is one of that iteration
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
        """Whether the row of an iteration proves that all due after it was done; later rows are discarded."""
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
        comm.synchronize()  # the first process to end must not end the others while one of them writes

    def _end_without_improvement(self, iteration: int) -> None:
        """End the run if the best evaluation lies too far back, once the row of this iteration is written.

        Raises:
            NoImprovement: It does; the final checkpoint is saved.
        """
        best = self._best.iteration
        if not self._patience or not self._evaluates(iteration) or best < 0 or iteration - best < self._patience:
            return
        self._save.final(iteration)
        raise NoImprovement(
            f"{self._best.metric} has not been above {self._best.best:.2f}, which it reached at iteration "
            f"{best}, for {self._patience} iterations (train.patience): the training ends"
        )

    def _report(self, iteration: int) -> None:
        """Evaluate if that is due, then write the row."""
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
            comm.synchronize()  # the others would wait in their next step, where it looks like slow data
        for writer in self._writers:
            writer.write()
