"""What a run has left in its folder, gathered for a report."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from ..config.load import load_config
from ..engine.metrics_file import read_metrics, read_results
from ..evaluation.image_counts import IMAGE_COUNTS, ImageCounts
from ..evaluation.pixel_metrics import METRIC_FILE, PIXEL_METRICS
from ..evaluation.sem_seg import CONFUSION, PER_CLASS
from .charts import Curve


@dataclass(frozen=True)
class ClassResult:
    """What an evaluation found for a class; NaN where it is not defined.

    Attributes:
        name: The name of the class.
        values: Metric -> value in per cent, such as IoU and accuracy, or AP.
        pixels: The number of labelled pixels; None where pixels were not counted.
    """

    name: str
    values: Mapping[str, float]
    pixels: int | None = None


@dataclass(frozen=True)
class ReportedRun:
    """A run as a report shows it.

    Attributes:
        name: What the run is called in the report.
        folder: Its output folder.
        config: Its config.
        rows: The rows of its metrics.json.
        classes: What the last evaluation found for every class.
        confusion: (K, K) pixels of the last evaluation, [predicted, labelled]; None where there is none.
        counts: Its counts by image; None where there are none.
        last: The results of the last evaluation, `<task>/<name>` -> value, which may have been that of weights from
            elsewhere; empty where they were not kept.
        further: Name of a further metric -> the rows of its file, by the names of their columns; only those that the
            last evaluation computed.
        cost: Name -> value, such as parameters and GFLOPs; filled in by who measures them.
    """

    name: str
    folder: Path
    config: DictConfig
    rows: Sequence[Mapping[str, float]]
    classes: Sequence[ClassResult]
    confusion: np.ndarray | None
    counts: ImageCounts | None
    last: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    cost: dict[str, str] = field(default_factory=dict)

    def scalar_names(self) -> list[str]:
        """The names of what was logged, `<task or part>/<name>`, without metrics of single classes."""
        logged = (name for row in (*self.rows, self.last) for name in row)
        return list(dict.fromkeys(name for name in logged if "/" in name and "-" not in name))

    def metric_names(self) -> list[str]:
        """Those of them that evaluations find, by the tasks of the last one; all where its results were not kept."""
        tasks = {name.partition("/")[0] for name in self.last} | {"validation"}
        return [name for name in self.scalar_names() if not self.last or name.partition("/")[0] in tasks]

    def newest(self, name: str) -> float:
        """The newest value of a scalar; NaN if it was never logged."""
        return next((row[name] for row in (self.last, *reversed(self.rows)) if name in row), math.nan)

    def curve(self, name: str) -> Curve:
        """The values of a scalar over the iterations."""
        return Curve(self.name, [(int(row["iteration"]) + 1, row[name]) for row in self.rows if name in row])


def read_run(folder: Path, *, name: str, trust_config: bool = False) -> ReportedRun:
    """Read what a run has left in its folder.

    Args:
        folder: The output folder of the run.
        name: What the run is called in the report.
        trust_config: Whether its config.yaml may call anything.

    Raises:
        ValueError: It is not the folder of a run, or something in it cannot be read.
    """
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder} has no config.yaml; wanted the output folder of a run")
    rows, last = read_metrics(folder / "metrics.json"), read_results(folder)
    results = folder / "inference"
    further = {name: _rows(path) for name in PIXEL_METRICS if (path := results / METRIC_FILE.format(name)).exists()}
    return ReportedRun(
        name=name,
        folder=folder,
        config=load_config(str(folder / "config.yaml"), trust_config=trust_config),
        rows=rows,
        classes=_class_table(results / PER_CLASS, further.get("boundary", [])) or _class_scalars([*rows, last]),
        confusion=_confusion(results / CONFUSION),
        counts=ImageCounts.read(results) if (results / IMAGE_COUNTS).exists() else None,
        last=last,
        further=further,
    )


def run_names(folders: Sequence[Path]) -> list[str]:
    """Name each run by the end of its path: as much of it as keeps the names apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"a run is given twice: {', '.join(map(str, folders))}")


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of the columns."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _class_table(path: Path, boundary: Sequence[Mapping[str, str]]) -> list[ClassResult]:
    """What the evaluation of label maps wrote for every class; nothing if there is no such file."""
    if not path.exists():
        return []
    further = {row["class"]: {"boundary IoU": float(row["boundary_IoU"])} for row in boundary}
    return [
        ClassResult(
            # an apostrophe keeps spreadsheets from taking a name for a formula
            row["class"].removeprefix("'"),
            {"IoU": float(row["IoU"]), "accuracy": float(row["accuracy"])} | further.get(row["class"], {}),
            int(row["labelled_pixels"]),
        )
        for row in _rows(path)
    ]


def _class_scalars(rows: Sequence[Mapping[str, float]]) -> list[ClassResult]:
    """The newest AP of every class, from the evaluation of a detector: `<task>/AP-<class>`."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for key, value in row.items():
            task, _, rest = key.partition("/")
            if rest.startswith("AP-"):
                found.setdefault(rest.removeprefix("AP-"), {})[f"{task} AP"] = value
    return [ClassResult(name, values) for name, values in found.items()]


def _confusion(path: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    return np.array([[int(cell) for cell in row[1:]] for row in rows], dtype=np.int64)
