"""The metrics that a run has written so far, read back from its output folder."""

import json
from pathlib import Path


def read_metrics(output_dir: str | Path) -> list[dict]:
    """All lines of a run's `metrics.json`, in the order in which they were written; none if there is no such file.

    Args:
        output_dir: The output folder of the run.
    """
    path = Path(output_dir) / "metrics.json"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def newest_metrics(output_dir: str | Path) -> dict:
    """The newest value of every metric that a run has written, by name.

    Args:
        output_dir: The output folder of the run.
    """
    newest: dict = {}
    for line in read_metrics(output_dir):
        newest |= line
    return newest
