"""The page of a report: a single HTML file that contains its pictures, style and script and loads nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .charts import COLORS, confusion_chart, line_chart, swatch, worst_confusions
from .drawings import Picture
from .further import further_tables, reliability_figures
from .runs import ReportedRun

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class PictureRow:
    """A row of pictures of one image.

    Attributes:
        title: The heading of the row.
        pictures: The pictures.
        wide: Whether to show the pictures large, so that text in them is legible.
    """

    title: str
    pictures: Sequence[Picture]
    wide: bool = False


def render_page(
    runs: Sequence[ReportedRun],
    *,
    title: str,
    images: Sequence[PictureRow] = (),
    tokens: Sequence[PictureRow] = (),
    legend: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> str:
    """Write the page.

    Args:
        runs: The runs. The first one is the baseline for the others.
        title: The heading of the page.
        images: The rows of example images.
        tokens: The rows of pictures that show the maps of tokens.
        legend: The name and the CSS colour of each class.
        notes: The parts that are missing from the page, and the reasons.

    Returns:
        The HTML. All names are escaped, since classes and runs may have any name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = shown
    return environment.get_template("page.html").render(
        title=title,
        runs=runs,
        swatches=[swatch(COLORS[place % len(COLORS)]) for place in range(len(runs))],
        summary=_summary(runs),
        charts=_charts(runs),
        classes=_class_rows(runs),
        shares=any(result.pixels is not None for run in runs for result in run.classes),
        metrics=_class_metrics(runs),
        confusions=[
            (run.name, confusion_chart(run.confusion, names), worst_confusions(run.confusion, names))
            for run in runs
            if run.confusion is not None and (names := [result.name for result in run.classes])
        ],
        tables=further_tables(runs),
        reliability=reliability_figures(runs),
        images=images,
        tokens=tokens,
        legend=[(swatch(color), name) for name, color in legend],
        notes=notes,
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((_FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def shown(value: float | None, digits: int = 2) -> str:
    """Format a number for a table cell with at least two significant digits; return a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2g}" if 0 < abs(value) < 10 ** (1 - digits) else f"{value:,.{digits}f}"


def _summary(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Create the rows of the summary, each with a name and a formatted value for each run."""
    metrics = _metric_names(runs)
    rows = [(name, [shown(run.newest(name)) for run in runs]) for name in metrics]
    rows.append(("iterations", [f"{len(run.rows) and int(run.rows[-1]['iteration']) + 1:,}" for run in runs]))
    rows.append(("seconds per iteration", [shown(run.newest("time"), 3) for run in runs]))
    if any(not math.isnan(run.newest("max_mem")) for run in runs):
        rows.append(("GPU memory in MB", [shown(run.newest("max_mem"), 0) for run in runs]))
    costs = dict.fromkeys(name for run in runs for name in run.cost)
    rows += [(name, [run.cost.get(name, "–") for run in runs]) for name in costs]
    rows.append(("folder", [str(run.folder) for run in runs]))
    return rows


def _charts(runs: Sequence[ReportedRun]) -> list[tuple[str, Markup]]:
    scalars = dict.fromkeys(name for run in runs for name in run.scalar_names())
    names = dict.fromkeys(["total_loss", *_metric_names(runs), "lr", *scalars])
    charts = [(name, line_chart(name, [run.curve(name) for run in runs])) for name in names]
    return [(name, chart) for name, chart in charts if chart]


def _metric_names(runs: Sequence[ReportedRun]) -> list[str]:
    """Return the names of the metrics of all runs; the metric that selects the best checkpoint comes first."""
    names = dict.fromkeys(name for run in runs for name in run.metric_names())
    best = runs[0].config.train.get("best_metric")
    return sorted(names, key=lambda name: name != best)


def _class_metrics(runs: Sequence[ReportedRun]) -> list[str]:
    return list(dict.fromkeys(metric for run in runs for result in run.classes for metric in result.values))


def _class_rows(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    """Create a row for each class: its name, its share of the labelled pixels, and each metric's value in each run."""
    by_name = [{result.name: result for result in run.classes} for run in runs]
    rows = []
    for name in dict.fromkeys(name for results in by_name for name in results):
        found = [results.get(name) for results in by_name]
        values = [
            [result.values.get(metric, math.nan) if result else math.nan for result in found]
            for metric in _class_metrics(runs)
        ]
        rows.append({"name": name, "share": _pixel_share(runs, found), "values": values})
    return rows


def _pixel_share(runs: Sequence[ReportedRun], found: Sequence[Any]) -> float:
    """Return the share of the labelled pixels in per cent that belong to a class, from the first run that has counts.

    Args:
        runs: The runs.
        found: The result of each run for this class, or None.
    """
    for run, result in zip(runs, found, strict=True):
        total = sum(other.pixels or 0 for other in run.classes)
        if result is not None and total:
            return 100 * (result.pixels or 0) / total
    return math.nan
