"""Makes the runs of a table, several at a time, each a chain of processes; what has ended well is never made again."""

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

# Seconds between two looks at the processes, and between two lines about how far they are.
_LOOK_EVERY, _TELL_EVERY = 0.2, 60.0


def _note(run: TableRun) -> Path:
    return run.folder / "finished.json"


def _made_from(run: TableRun) -> dict[str, Any]:
    return {"config": run.row.config.name, "overrides": list(run.overrides), "then": [list(one) for one in run.then]}


def is_finished(run: TableRun) -> bool:
    """Whether a run has ended well, with all that follows it.

    Raises:
        ValueError: Its folder holds a finished run with another config or other overrides.
    """
    if not _note(run).exists():
        return False
    was, now = json.loads(_note(run).read_text()), _made_from(run)
    for key, value in now.items():
        if was[key] != value:
            raise ValueError(
                f"{run.folder} holds a finished run with {key} {was[key]}; wanted {value}: remove that folder to have "
                "the run made anew, or name another folder for all runs with --output"
            )
    return True


def seconds_an_iteration(run: TableRun) -> float | None:
    """How long an iteration of a finished run took, with start and evaluation; None if that was not measured."""
    return json.loads(_note(run).read_text())["seconds_an_iteration"]


def iterations_done(run: TableRun) -> int:
    """Iterations of a run so far, as far as its metrics.json tells."""
    return int(newest_metrics(run.folder / "metrics.json").get("iteration", -1)) + 1


@dataclass
class _Chain:
    """The processes of a run, one after the other."""

    run: TableRun
    steps: list[list[str]]
    threads: int
    first: int = 0  # iterations that had been done before
    began: float = 0.0
    process: subprocess.Popen | None = None

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
                start_new_session=True,  # what stops this command is passed on once, and not by the terminal too
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )

    def poll(self) -> int | None:
        """The exit code once the run has ended: of its last process, or of the first that failed."""
        assert self.process is not None  # it has begun
        code = self.process.poll()
        if code == 0 and self.steps:
            self._next()
            return None
        return code

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def rate(self) -> float | None:
        done = iterations_done(self.run) - self.first
        return self.seconds / done if done > 0 else None

    def finish(self) -> None:
        note = _made_from(self.run) | {"seconds_an_iteration": self.rate(), "seconds": self.seconds}
        unfinished = _note(self.run).with_suffix(".unfinished")
        unfinished.write_text(json.dumps(note, indent=1))
        unfinished.rename(_note(self.run))


class RunQueue:
    """The runs of a table, some of which are finished and some under way."""

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
            runs: All runs, in the order in which they are begun; each comes after those that it needs.
            iterations: The number of iterations of each run, by its folder.
            steps: A function that gives the command lines of a run, which are called one after the other.
            result: A function that says in a few words how a run has ended; a ValueError of it is a failure of the run.
            tell: A function that takes each line about the progress.
            jobs: How many runs are made at a time.

        Raises:
            ValueError: A folder holds another run than the one that is wanted.
        """
        self.runs, self.iterations, self.steps, self.result, self.tell = runs, iterations, steps, result, tell
        self.jobs, self.threads = jobs, max(1, len(os.sched_getaffinity(0)) // jobs)
        self.finished = {run.folder for run in runs if is_finished(run)}
        self.failed: dict[Path, str] = {}
        self._waiting = [run for run in runs if run.folder not in self.finished]
        self._going: list[_Chain] = []

    def work(self) -> None:
        """Make all runs that are not finished. One that fails is noted in `failed`, and so are those that need it; the
        others go on. Whatever ends this command ends the runs under way too, which save a checkpoint first.
        """
        told = time.monotonic()
        if self.finished:
            self.tell(f"{len(self.finished)} of {len(self.runs)} runs are finished already")
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
                if is_finished(run):  # by another command meanwhile
                    self.finished.add(run.folder)
                    continue
                chain = _Chain(run, self.steps(run), self.threads)
                self._going.append(chain)
                chain.begin()
                self.tell(f"{run}: begins, with its output in {chain.output}")

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
        """The time that all missing iterations take: at the rate of their rows, or at the mean of all rates known."""
        rates = {run.row.name: seconds_an_iteration(run) for run in self.runs if run.folder in self.finished}
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
