"""Reading the files in the folder of a run for a report."""

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
    """The results of an evaluation for one class.

    Attributes:
        name: The name of the class.
        values: The metrics in per cent by name, such as IoU and accuracy, or AP; undefined metrics are NaN.
        pixels: The number of labelled pixels; None if pixels were not counted.
    """

    name: str
    values: Mapping[str, float]
    pixels: int | None = None


@dataclass(frozen=True)
class ReportedRun:
    """The data of a run that a report shows.

    Attributes:
        name: The name of the run in the report.
        folder: The output folder of the run.
        config: The config of the run.
        rows: The rows of the run's metrics.json.
        classes: The results of the last evaluation for each class.
        confusion: The confusion matrix of the last evaluation, (K, K) pixels [predicted, labelled]; None if missing.
        counts: The pixel counts of the last evaluation for each image; None if missing.
        last: The results of the last evaluation by name, `<task>/<name>`; empty if missing. They may belong to weights
            of another run, since `--eval-only` can evaluate any weights.
        further: The further metrics of the last evaluation by name. Each row of a metric's file is a mapping from the
            names of the columns to the cells.
        cost: The costs of the model by name, such as parameters and GFLOPs. It is filled by the caller.
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
        """Return the names `<task or part>/<name>` of all logged values, without metrics of single classes."""
        logged = (name for row in (*self.rows, self.last) for name in row)
        return list(dict.fromkeys(name for name in logged if "/" in name and "-" not in name))

    def metric_names(self) -> list[str]:
        """Return the names of the values that are results of evaluations, that is, of a task of the last evaluation.

        If its results are missing, all names are returned.
        """
        tasks = {name.partition("/")[0] for name in self.last} | {"validation"}
        return [name for name in self.scalar_names() if not self.last or name.partition("/")[0] in tasks]

    def newest(self, name: str) -> float:
        """Return the latest value of a scalar, or NaN if it was never logged."""
        return next((row[name] for row in (self.last, *reversed(self.rows)) if name in row), math.nan)

    def curve(self, name: str) -> Curve:
        """Return the values of a scalar over the iterations."""
        return Curve(self.name, [(int(row["iteration"]) + 1, row[name]) for row in self.rows if name in row])


def read_run(folder: Path, *, name: str, trust_config: bool = False) -> ReportedRun:
    """Read the files in the output folder of a run.

    Args:
        folder: The output folder of the run.
        name: The name of the run in the report.
        trust_config: Whether the run's config.yaml may call any function.

    Raises:
        ValueError: The folder is not that of a run, or a file in it cannot be read.
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
    """Name each run by the shortest end of its path that makes all names different.

    Raises:
        ValueError: A folder is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"a run is given twice: {', '.join(map(str, folders))}")


def _rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file as mappings from the names of the columns to the cells."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _class_table(path: Path, boundary: Sequence[Mapping[str, str]]) -> list[ClassResult]:
    """Read the file with the results of a segmentation for each class; return an empty list if it does not exist.

    Args:
        path: The path of the file.
        boundary: The rows of the metric `boundary`, which are added to the results; may be empty.
    """
    if not path.exists():
        return []
    further = {row["class"]: {"boundary IoU": float(row["boundary_IoU"])} for row in boundary}
    return [
        ClassResult(
            # `csv_text` may have written an apostrophe, so that a spreadsheet does not take a name for a formula.
            row["class"].removeprefix("'"),
            {"IoU": float(row["IoU"]), "accuracy": float(row["accuracy"])} | further.get(row["class"], {}),
            int(row["labelled_pixels"]),
        )
        for row in _rows(path)
    ]


def _class_scalars(rows: Sequence[Mapping[str, float]]) -> list[ClassResult]:
    """Return the latest AP of each class from the evaluations of a detector, which log it as `<task>/AP-<class>`."""
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
