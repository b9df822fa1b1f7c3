"""The results of finished runs as Markdown tables with means and standard deviations, and as a CSV of all values."""

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from ..comparison import difference_cells, shown_digits
from ..engine.metrics_file import newest_metrics
from ..evaluation.statistics import mean_and_spread, paired_difference
from ..plain_text import csv_text
from .table_file import ResultTable, TableRun


def run_metrics(table: ResultTable, run: TableRun) -> dict[str, float]:
    """Read the metrics of a finished run by the titles of their columns, except those for which its row has no value.

    Raises:
        ValueError: The metrics.json of the run lacks a metric.
    """
    newest = newest_metrics(run.folder / "metrics.json")
    wanted = {title: key for title, key in table.metrics.items() if title not in run.row.without}
    for key in wanted.values():
        if key not in newest:
            known = ", ".join(sorted(name for name in newest if "/" in name)) or "none"
            raise ValueError(f"{run.folder / 'metrics.json'} has no {key}; wanted some of its metrics: {known}")
    return {title: newest[key] for title, key in wanted.items()}


def _column(numbers: Sequence[Collection[float]], digits: int) -> list[str]:
    """Format the mean of each row's values and, if it has several seeds, their standard deviation."""
    cells = []
    for own in numbers:
        mean, spread = mean_and_spread([*own]) if own else (math.nan, math.nan)
        text = f"{mean:.{digits}f}" if own else "-"
        cells.append(f"{text} +- {spread:.{digits}f}" if len(own) > 1 else text)
    return cells


def _differences(numbers: Sequence[Mapping[int, float]], baseline: Mapping[int, float], digits: int) -> list[str]:
    """Format the mean difference of each row from the baseline with its interval, over the seeds that both have."""
    cells = []
    for own in numbers:
        seeds = own.keys() & baseline.keys() if own is not baseline else set()
        if seeds:
            first, other = ({seed: one[seed] for seed in seeds} for one in (baseline, own))
            value, bounds, _ = difference_cells(paired_difference(first, other), digits)
            cells.append(f"{value} ({bounds})")
        else:
            cells.append("-")
    return cells


def markdown_table(table: ResultTable, runs: Sequence[TableRun]) -> str:
    """Write a table in Markdown.

    Each row has the mean and the standard deviation of each metric over the seeds and, if the table has a baseline, the
    difference from it in each metric that it has.

    Args:
        table: The table.
        runs: The finished runs of the table; rows without any have dashes.
    """
    found = [{run.seed: run_metrics(table, run) for run in runs if run.row.name == row.name} for row in table.rows]
    seeds = [f"{len(own)} of {len(row.seeds)}" for row, own in zip(table.rows, found, strict=True)]
    if all(len(own) == len(row.seeds) for row, own in zip(table.rows, found, strict=True)):
        seeds = [str(len(own)) for own in found]
    columns = {table.title: [row.title for row in table.rows], "seeds": seeds}
    names = [row.name for row in table.rows]
    for title in table.metrics:
        numbers = [{seed: metrics[title] for seed, metrics in own.items() if title in metrics} for own in found]
        digits = min((shown_digits(number) for own in numbers for number in own.values()), default=1)
        columns[title] = _column([own.values() for own in numbers], digits)
        place = names.index(table.baseline) if table.baseline in names else None
        if place is not None and title not in table.rows[place].without:
            heading = f"{title} above {table.rows[place].title} (95 % interval)"
            columns[heading] = _differences(numbers, numbers[place], digits)
    return tabulate(columns, headers="keys", tablefmt="github", disable_numparse=True)


def write_csv(path: Path, tables: Sequence[ResultTable], runs: Sequence[TableRun]) -> None:
    """Write a CSV file with a line for each metric of each finished run."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["table", "row", "seed", "metric", "value"])
        for table in tables:
            names = {row.name for row in table.rows}
            for run in (run for run in runs if run.row.name in names):
                for title, value in run_metrics(table, run).items():
                    texts = [csv_text(text) for text in (table.title, run.row.name, title)]
                    writer.writerow([*texts[:2], run.seed, texts[2], value])
