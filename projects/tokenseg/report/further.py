"""The tables and diagrams of a report that show the further metrics of evaluations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ..evaluation.image_counts import mean_of_classes
from .reliability import Bin, calibration_error, reliability_chart
from .runs import ReportedRun

# The maximum number of classes whose names are listed for a group.
_LISTED = 12


@dataclass(frozen=True)
class FurtherTable:
    """A table that compares runs.

    Attributes:
        title: The title of the table.
        note: The explanation that is shown above the table.
        headings: The names of the columns.
        rows: The cells of each row. The first cell is the row's name; numbers are shown with one decimal place.
    """

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | float]]


def further_tables(runs: Sequence[ReportedRun]) -> list[FurtherTable]:
    """Create the tables of the metrics by size and by frequency, each if at least one run has this metric."""
    return [table for table in (_sizes(runs), _frequencies(runs)) if table.rows]


def _sizes(runs: Sequence[ReportedRun]) -> FurtherTable:
    found = [{row["size"]: row for row in run.further.get("size", [])} for run in runs]
    rows = []
    for size, first in next((rows for rows in found if rows), {}).items():
        cells: list[str | float] = [f"{size}, from {int(first['from_pixels']):,} pixels", f"{int(first['segments']):,}"]
        for metric in ("accuracy", "segment_IoU"):
            cells += [float(own[size][metric]) if size in own else math.nan for own in found]
        rows.append(cells)
    return FurtherTable(
        title="By size",
        note="For the connected components of each class in the label maps, in per cent: the share of pixels that are "
        "predicted correctly, and the IoU with the predicted components that touch them, averaged over the classes.",
        headings=["size", "segments", *_for_each("accuracy", runs), *_for_each("IoU", runs)],
        rows=rows,
    )


def _frequencies(runs: Sequence[ReportedRun]) -> FurtherTable:
    found = [run.further.get("frequency", []) for run in runs]
    groups: dict[str, list[str]] = {}
    for row in next((rows for rows in found if rows), []):
        groups.setdefault(row["group"], []).append(row["class"].removeprefix("'"))
    rows: list[list[str | float]] = []
    for group, names in groups.items():
        listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
        ious = [[float(row["IoU"]) for row in own if row["group"] == group] for own in found]
        means = [float(mean_of_classes(np.array(values))) for values in ious]
        rows.append([f"{group}, {len(names)}: {listed}", *means])
    return FurtherTable(
        title="By frequency",
        note="The mIoU in per cent of three groups of classes, which are formed by the number of evaluated images that "
        "contain each class.",
        headings=["classes", *_for_each("mIoU", runs)],
        rows=rows,
    )


def _for_each(metric: str, runs: Sequence[ReportedRun]) -> list[str]:
    return [f"{metric}, {run.name}" if len(runs) > 1 else metric for run in runs]


def reliability_figures(runs: Sequence[ReportedRun]) -> list[tuple[str, Markup]]:
    """Create a caption and a reliability diagram for each run whose calibration was measured."""
    figures = []
    for run in runs:
        rows = run.further.get("calibration", [])
        bins = [Bin(**{name: float(value) for name, value in row.items()}) for row in rows]
        if any(one.pixels for one in bins):
            caption = f"{run.name}: expected calibration error {100 * calibration_error(bins):.1f} %"
            figures.append((caption, reliability_chart(bins)))
    return figures
