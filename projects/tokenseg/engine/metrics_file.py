"""The files with the metrics of a run.

`metrics.json` has a row of scalars for every iteration that was logged or evaluated. `inference/results.json` has the
results of the last evaluation, whichever weights were evaluated.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping

from detectron2.utils.events import EventWriter, get_event_storage

from ..atomic_file import replacing

# The number of iterations over which the median of a loss is logged; Detectron2 uses the same number.
WINDOW = 20
# The path of the last evaluation's results, relative to the output folder of a run.
RESULTS = os.path.join("inference", "results.json")


def write_results(folder: str | os.PathLike, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write the results of an evaluation, `{task: {name: value}}`, to the output folder of its run."""
    path = os.path.join(folder, RESULTS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    flat = {f"{task}/{name}": value for task, values in results.items() for name, value in values.items()}
    with replacing(path) as unfinished, open(unfinished, "w") as file:
        json.dump(flat, file, indent=1)


def read_results(folder: str | os.PathLike) -> dict[str, float]:
    """Read the results of the last evaluation of a run, `<task>/<name>` -> value; empty if there are none."""
    try:
        with open(os.path.join(folder, RESULTS)) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def read_metrics(path: str | os.PathLike) -> list[dict[str, float]]:
    """Read the rows of a metrics.json, without a row that a kill has truncated; empty if there is no file."""
    try:
        with open(path) as file:
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def newest_metrics(path: str | os.PathLike) -> dict[str, float]:
    """Read the newest value of every scalar in a metrics.json."""
    newest: dict[str, float] = {}
    for row in read_metrics(path):
        newest |= row
    return newest


def _line(row: dict[str, float]) -> str:
    return json.dumps(row, sort_keys=True) + "\n"


class MetricsFile(EventWriter):
    """Writes rows like Detectron2's JSONWriter, and discards the rows that a resumed run will write again."""

    def __init__(self, path: str) -> None:
        """
        Args:
            path: The path of the file, to which rows are appended.
        """
        self.path, self._written = path, -1

    def clear(self) -> None:
        """Discard the rows of an earlier run."""
        if os.path.exists(self.path):
            os.remove(self.path)
        self._written = -1

    def rewind(self, iteration: int, *, due: bool, complete: Callable[[dict[str, float]], bool]) -> bool:
        """Discard the rows after an iteration, and the row of this iteration unless it is complete.

        Args:
            iteration: The last iteration whose row may be kept.
            due: Whether this iteration should have a row. If not, its scalars will not be written later either.
            complete: A function that returns whether a row of this iteration is complete.

        Returns:
            Whether the row of this iteration was kept.
        """
        rows = read_metrics(self.path)
        last = [row for row in rows if row["iteration"] == iteration and complete(row)][-1:]
        if os.path.exists(self.path):
            with replacing(self.path) as unfinished, open(unfinished, "w") as file:
                file.writelines(_line(row) for row in rows if row["iteration"] < iteration)
                file.writelines(_line(row) for row in last)
        self._written = iteration if last or not due else iteration - 1
        return bool(last)

    def write(self) -> None:
        """Append the scalars that were stored since the last row."""
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(WINDOW).items():
            if iteration > self._written:
                rows[iteration][name] = value
        if not rows:
            return
        try:
            with open(self.path, "a") as file:
                for iteration in sorted(rows):
                    file.write(_line({"iteration": iteration, **rows[iteration]}))
                file.flush()
                os.fsync(file.fileno())  # a row proves that its evaluation was done, so it must be on the disk
        except OSError as error:
            raise OSError(f"{self.path} cannot be written: {error}") from error
        self._written = max(rows)
