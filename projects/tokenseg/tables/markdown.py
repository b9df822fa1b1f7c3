"""Finished runs as tables: Markdown with means and spreads, and a CSV with every number."""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..engine.metrics_file import newest_metrics
from ..plain_text import csv_text
from .table_file import Table, TableRun


def run_metrics(table: Table, run: TableRun) -> dict[str, float]:
    """The numbers of a finished run, by the titles of the columns.

    Raises:
        ValueError: The run has measured no such metric.
    """
    newest = newest_metrics(run.folder / "metrics.json")
    for key in table.metrics.values():
        if key not in newest:
            known = ", ".join(sorted(name for name in newest if "/" in name)) or "none"
            raise ValueError(f"{run.folder / 'metrics.json'} has no {key}; wanted metrics that it has: {known}")
    return {title: newest[key] for title, key in table.metrics.items()}


def _column(numbers: Sequence[Sequence[float]]) -> list[str]:
    """The cells of a column from the numbers of each row: the mean, and the standard deviation of several seeds."""
    digits = 1 if any(abs(number) >= 10 for own in numbers for number in own) else 3  # per cent, or nats and variances
    cells = []
    for own in numbers:
        mean = f"{statistics.mean(own):.{digits}f}" if own else "-"
        cells.append(f"{mean} +- {statistics.stdev(own):.{digits}f}" if len(own) > 1 else mean)
    return cells


def markdown_table(table: Table, runs: Sequence[TableRun]) -> str:
    """A table with a line for each row: the mean of each metric, and the standard deviation of the seeds.

    Args:
        table: The table.
        runs: The finished runs of it; rows without any have dashes.
    """
    found = [[run_metrics(table, run) for run in runs if run.row.name == row.name] for row in table.rows]
    columns = [_column([[one[title] for one in own] for own in found]) for title in table.metrics]
    made = [f"{len(own)} of {len(row.seeds)}" for row, own in zip(table.rows, found, strict=True)]
    if all(len(own) == len(row.seeds) for row, own in zip(table.rows, found, strict=True)):
        made = [str(len(own)) for own in found]
    lines = list(zip([row.title for row in table.rows], made, *columns, strict=True))
    return tabulate(lines, headers=[table.title, "seeds", *table.metrics], tablefmt="github", disable_numparse=True)


def write_csv(path: Path, tables: Sequence[Table], runs: Sequence[TableRun]) -> None:
    """Write a line for every metric of every finished run."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["table", "row", "seed", "metric", "value"])
        for table in tables:
            names = {row.name for row in table.rows}
            for run in (run for run in runs if run.row.name in names):
                for title, value in run_metrics(table, run).items():
                    texts = [csv_text(text) for text in (table.title, run.row.name, title)]
                    writer.writerow([*texts[:2], run.seed, texts[2], value])
