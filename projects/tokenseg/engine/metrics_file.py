"""`metrics.json`: a row of scalars for every iteration that was logged or evaluated; and the results of the last
evaluation, of whichever weights, in `inference/results.json`."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping

from detectron2.utils.events import EventWriter, get_event_storage

from ..atomic_file import replacing

# Losses are logged as their median over so many iterations, as Detectron2 does.
WINDOW = 20
# The results of the last evaluation, in the output folder of a run.
RESULTS = os.path.join("inference", "results.json")


def write_results(folder: str | os.PathLike, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write the results of an evaluation, `{task: {name: value}}`, to the output folder of its run."""
    path = os.path.join(folder, RESULTS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    flat = {f"{task}/{name}": value for task, values in results.items() for name, value in values.items()}
    with replacing(path) as unfinished, open(unfinished, "w") as file:
        json.dump(flat, file, indent=1)


def read_results(folder: str | os.PathLike) -> dict[str, float]:
    """The results of the last evaluation of a run, `<task>/<name>` -> value; nothing if there are none."""
    try:
        with open(os.path.join(folder, RESULTS)) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def read_metrics(path: str | os.PathLike) -> list[dict[str, float]]:
    """The rows of a metrics.json, without one that a kill has cut short; none if there is no file."""
    try:
        with open(path) as file:
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def newest_metrics(path: str | os.PathLike) -> dict[str, float]:
    """The newest value of every scalar in a metrics.json."""
    newest: dict[str, float] = {}
    for row in read_metrics(path):
        newest |= row
    return newest


def _line(row: dict[str, float]) -> str:
    return json.dumps(row, sort_keys=True) + "\n"


class MetricsFile(EventWriter):
    """Detectron2's JSONWriter with rows that can be looked up, and discarded when a run resumes from before them."""

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
        """Discard the rows after an iteration, which will be written again, and its own row unless that is complete.

        Args:
            iteration: The last iteration whose row may stay.
            due: Whether that iteration has a row at all; if not, no scalar of it is written any more.
            complete: A function that tells whether nothing is missing in the row of that iteration.

        Returns:
            Whether there is a row of that iteration now.
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
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(f"{self.path} cannot be written: {error}") from error
        self._written = max(rows)
