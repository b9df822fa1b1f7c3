"""Executes the runs of a table, several in parallel, each as a chain of processes. Finished runs are skipped."""

import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.metrics_file import newest_metrics
from ..engine.stopping import die_with_parent
from .table_file import TableRun

# The seconds between two checks of the processes, and between two lines about the progress.
_LOOK_EVERY, _TELL_EVERY = 0.2, 60.0


def _note(run: TableRun) -> Path:
    return run.folder / "finished.json"


def _made_from(run: TableRun) -> dict[str, Any]:
    return {"config": run.row.config.name, "overrides": list(run.overrides), "then": [list(one) for one in run.then]}


def is_finished(run: TableRun) -> bool:
    """Return whether a run and the commands after it have finished successfully.

    Raises:
        ValueError: The folder contains a finished run with another config, other overrides or other commands.
    """
    if not _note(run).exists():
        return False
    was, now = json.loads(_note(run).read_text()), _made_from(run)
    for key, value in now.items():
        if was[key] != value:
            raise ValueError(
                f"{run.folder} holds a finished run with {key} {was[key]}; wanted {value}: remove that folder to "
                "repeat the run, or choose another folder for all runs with --output"
            )
    return True


def seconds_per_iteration(run: TableRun) -> float | None:
    """Return the seconds per iteration of a finished run, including start and evaluation; None if not measured."""
    return json.loads(_note(run).read_text())["seconds_an_iteration"]


def iterations_done(run: TableRun) -> int:
    """Return the number of completed iterations of a run according to its metrics.json."""
    return int(newest_metrics(run.folder / "metrics.json").get("iteration", -1)) + 1


@dataclass
class _Chain:
    """The processes of a run, which are executed one after the other."""

    run: TableRun
    steps: list[list[str]]  # the command lines that have not been started yet
    threads: int  # for each process
    first: int = 0  # the iterations that were completed before this chain began
    began: float = 0.0  # by time.monotonic()
    process: subprocess.Popen | None = None  # the current process, or the last one

    @property
    def output(self) -> Path:
        return self.run.folder / "output.txt"

    def begin(self) -> None:
        self.run.folder.mkdir(parents=True, exist_ok=True)
        self.first, self.began = iterations_done(self.run), time.monotonic()
        self._next()

    def _next(self) -> None:
        environment = {"OMP_NUM_THREADS": str(self.threads)} | os.environ
        with self.output.open("a") as stream:
            self.process = subprocess.Popen(
                self.steps.pop(0),
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # A signal from the terminal reaches only this command, which then stops the run itself. Otherwise the
                # run would receive the signal twice.
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )

    def poll(self) -> int | None:
        """Start the next process if one has ended, and return the exit code of the run, or None while it is running.

        The exit code is that of the last process, or of the first one that failed.
        """
        assert self.process is not None  # `begin` has been called
        code = self.process.poll()
        if code == 0 and self.steps:
            self._next()
            return None
        return code

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def rate(self) -> float | None:
        """Return the seconds per iteration so far, or None before the first iteration."""
        done = iterations_done(self.run) - self.first
        return self.seconds / done if done > 0 else None

    def finish(self) -> None:
        """Write the note that marks the run as finished."""
        note = _made_from(self.run) | {"seconds_an_iteration": self.rate(), "seconds": self.seconds}
        unfinished = _note(self.run).with_suffix(".unfinished")
        # Renaming is atomic, so an interrupted command never leaves an incomplete note.
        unfinished.write_text(json.dumps(note, indent=1))
        unfinished.rename(_note(self.run))


class RunQueue:
    """A queue that executes the runs of a table.

    Attributes:
        finished: The folders of the finished runs.
        failed: The reason of each failure, by the folder of the run.
    """

    def __init__(
        self,
        *,
        runs: Sequence[TableRun],
        iterations: Mapping[Path, int],
        steps: Callable[[TableRun], list[list[str]]],
        result: Callable[[TableRun], str],
        tell: Callable[[str], None],
        jobs: int,
    ) -> None:
        """
        Args:
            runs: All runs in the order in which they are started; each comes after those that it needs.
            iterations: The number of iterations of each run, by its folder.
            steps: A function that returns the command lines of a run, which are executed one after the other.
            result: A function that briefly describes the result of a run; if it raises a ValueError, the run failed.
            tell: A function that is called with each line about the progress.
            jobs: The number of runs to execute in parallel.

        Raises:
            ValueError: A folder contains a finished run with other settings.
        """
        self.runs, self.iterations, self.steps, self.result, self.tell = runs, iterations, steps, result, tell
        # The available cores are divided among the parallel runs.
        self.jobs, self.threads = jobs, max(1, len(os.sched_getaffinity(0)) // jobs)
        self.finished = {run.folder for run in runs if is_finished(run)}
        self.failed: dict[Path, str] = {}
        self._waiting = [run for run in runs if run.folder not in self.finished]
        self._going: list[_Chain] = []

    def work(self) -> None:
        """Execute all runs that are not finished.

        If a run fails, it and the runs that need it are added to `failed`, and all others continue. If this method is
        interrupted, it stops the current runs, which save a checkpoint before they exit.
        """
        told = time.monotonic()
        if self.finished:
            self.tell(f"{len(self.finished)} of {len(self.runs)} runs are already finished")
        try:
            while self._waiting or self._going:
                self._begin_some()
                self._end_some()
                if time.monotonic() - told > _TELL_EVERY:
                    told = time.monotonic()
                    self._tell_progress()
                time.sleep(_LOOK_EVERY if self._going else 0)
        except BaseException:
            going = [chain.process for chain in self._going if chain.process is not None]
            for process in going:
                process.terminate()
            for process in going:
                process.wait()
            raise

    def _begin_some(self) -> None:
        for run in list(self._waiting):
            missing = [one for one in run.needs if one.folder in self.failed]
            if missing:
                self._waiting.remove(run)
                self._fail(run, f"needs {missing[0]}")
            elif len(self._going) < self.jobs and all(one.folder in self.finished for one in run.needs):
                self._waiting.remove(run)
                if is_finished(run):  # another command has executed it in the meantime
                    self.finished.add(run.folder)
                    continue
                chain = _Chain(run, self.steps(run), self.threads)
                self._going.append(chain)
                chain.begin()
                self.tell(f"{run}: started, with its output in {chain.output}")

    def _end_some(self) -> None:
        for chain in list(self._going):
            code = chain.poll()
            if code is None:
                continue
            self._going.remove(chain)
            if code:
                self._fail(chain.run, f"exit code {code}, with its output in {chain.output}")
                continue
            try:
                result = self.result(chain.run)
            except ValueError as error:
                self._fail(chain.run, str(error))
                continue
            chain.finish()
            self.finished.add(chain.run.folder)
            place = f"[{len(self.finished)} of {len(self.runs)}]"
            self.tell(f"{place} {chain.run}: {result} ({chain.seconds / 60:.1f} min); {self._time_left()}")

    def _fail(self, run: TableRun, reason: str) -> None:
        self.failed[run.folder] = f"{run}: {reason}"
        self.tell(f"FAILED {self.failed[run.folder]}")

    def _tell_progress(self) -> None:
        under_way = [
            f"{chain.run} at {iterations_done(chain.run)} of {self._length(chain.run)}" for chain in self._going
        ]
        self.tell(f"{'; '.join(under_way)}; {self._time_left()}")

    def _length(self, run: TableRun) -> int:
        return self.iterations[run.folder]

    def _time_left(self) -> str:
        """Estimate the time of all remaining iterations, by the speed of their row or else by the mean speed."""
        rates = {run.row.name: seconds_per_iteration(run) for run in self.runs if run.folder in self.finished}
        rates |= {chain.run.row.name: rate for chain in self._going if (rate := chain.rate())}
        known = [rate for rate in rates.values() if rate]
        missing = [*self._waiting, *(chain.run for chain in self._going)]
        if not missing:
            return "none left"
        if not known:
            return f"{len(missing)} left"
        mean = sum(known) / len(known)
        seconds = sum((self._length(run) - iterations_done(run)) * (rates.get(run.row.name) or mean) for run in missing)
        return f"{len(missing)} left, about {max(1, round(seconds / self.jobs / 60))} min"
