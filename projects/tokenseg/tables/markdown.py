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


def _number(values: Sequence[float]) -> str:
    """A mean and the standard deviation of the seeds, which one seed does not have."""
    digits = 1 if max(map(abs, values)) >= 10 else 3
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} +- {statistics.stdev(values):.{digits}f}"


def markdown_table(table: Table, runs: Sequence[TableRun]) -> str:
    """A table with a line for each row: the mean of each metric, and the standard deviation of the seeds.

    Args:
        table: The table.
        runs: The finished runs of it; rows without any have dashes.
    """
    lines = []
    for row in table.rows:
        own = [run_metrics(table, run) for run in runs if run.row.name == row.name]
        cells = [_number([one[title] for one in own]) if own else "-" for title in table.metrics]
        lines.append([row.title, f"{len(own)} of {len(row.seeds)}", *cells])
    headers = [table.title, "seeds", *table.metrics]
    if all(line[1].split()[0] == line[1].split()[2] for line in lines):  # all is there: say only how many
        lines = [[title, seeds.split()[0], *cells] for title, seeds, *cells in lines]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


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
