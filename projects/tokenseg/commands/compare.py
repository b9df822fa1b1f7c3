"""The body of the command `compare`, which compares configs over several seeds, or runs that have ended."""

import argparse
import csv
import json
import os
import statistics
import subprocess
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

from ..comparison import (
    FinishedRun,
    difference_cells,
    difference_headers,
    results_by_seed,
    shown_digits,
    table_over_images,
    table_over_seeds,
)
from ..config.load import load_config
from ..engine.metrics_file import read_metrics
from ..evaluation.statistics import mean_and_spread, paired_difference
from ..plain_text import csv_text, plot_text
from .train_process import train_command


@dataclass(frozen=True)
class Run:
    """One training: a config, a seed and, if a key is varied, its value."""

    config: str
    value: str | None
    seed: int
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.config).stem

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """Return (iteration, metric) for every evaluation so far."""
        lines = read_metrics(self.folder / "metrics.json")
        return sorted({int(line["iteration"]) + 1: line[metric] for line in lines if metric in line}.items())

    def is_complete(self) -> bool:
        return (self.folder / "model_final.pth").exists()

    def train(self, threads: int) -> None:
        """Train to the end.

        Raises:
            ChildProcessError: The training failed. The message names the file with its output.
        """
        output = self.folder / "output.txt"
        command = train_command("--config-file", self.config, "--resume", *self.overrides)
        with output.open("a") as stream:
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            code = subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT).returncode
        if code:
            raise ChildProcessError(f"{self.folder.name} failed with exit code {code}; its output is in {output}")


def plan(args: argparse.Namespace) -> list[Run]:
    """List the requested runs, each with its folder.

    Raises:
        ValueError: A config does not accept the overrides.
    """
    key, *values = args.vary or [None, None]
    trust, runs = ["--trust-config"] * args.trust_config, []
    for seed in args.seeds:
        for value in values:
            for path in args.config_file:
                name = Path(path).stem if value is None else f"{Path(path).stem}_{key.split('.')[-1]}_{value}"
                folder = args.output / f"{name}_seed_{seed}"
                own = [f"train.seed={seed}", f"train.output_dir={folder}"] + ([f"{key}={value}"] if value else [])
                load_config(path, [*args.overrides, *own], trust_config=args.trust_config)
                runs.append(Run(path, value, seed, folder, (*args.overrides, *own, *trust)))
    return runs


def prepare(run: Run) -> None:
    """Create the folder of a run, or check that it holds the same run.

    Raises:
        ValueError: The folder holds a run with another config or other overrides.
    """
    note = run.folder / "compare.json"
    wanted = [run.config, *run.overrides]
    if note.exists() and json.loads(note.read_text()) != wanted:
        had = " ".join(json.loads(note.read_text()))
        raise ValueError(
            f"{run.folder} holds the run '{had}'; wanted '{' '.join(wanted)}': use another --output, or remove the "
            "folder"
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(wanted))


def train_all(runs: list[Run], jobs: int) -> None:
    """Train the incomplete runs, `jobs` at a time. If one fails, those already running are still finished."""
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    missing = [run for run in runs if not run.is_complete()]
    bar = tqdm(total=len(runs), initial=len(runs) - len(missing), unit="run", disable=None)
    with ThreadPoolExecutor(jobs) as pool, bar:
        waiting = [pool.submit(run.train, threads) for run in missing]
        try:
            for done in as_completed(waiting):
                done.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def summarise(runs: list[Run], metric: str) -> list[dict]:
    """Summarise the runs in one row for each config and value.

    Returns:
        A list of dicts with the metric of the last evaluation by seed, `by_seed`, its `mean` and standard deviation,
        `spread`, and its paired `difference` from the first row, which is None in the first row.

    Raises:
        ValueError: A run has no such metric.
    """
    groups = defaultdict(list)
    for run in runs:
        curve = run.curve(metric)
        if not curve:
            raise ValueError(f"{run.folder / 'metrics.json'} has no {metric}; wanted one of its keys as --metric")
        groups[run.name, run.value].append((run.seed, curve[-1][1]))
    baseline = dict(next(iter(groups.values())))
    rows: list[dict[str, Any]] = []
    for (name, value), group in groups.items():
        by_seed = dict(group)
        mean, spread = mean_and_spread(list(by_seed.values()))
        difference = paired_difference(baseline, by_seed) if rows else None
        row = {"config": name, "value": value, "mean": mean, "spread": spread, "by_seed": by_seed}
        rows.append(row | {"difference": difference})
    return rows


def report(rows: list[dict], vary: str | None, seeds: list[int]) -> str:
    """Format the rows as a Markdown table; with several seeds and rows, it has their differences from the first row."""
    headers = ["config", *([vary] if vary else []), "mean", "spread", *(f"seed {seed}" for seed in seeds)]
    compares = len(rows) > 1 and len(seeds) > 1
    if compares:
        headers += difference_headers(" ".join(filter(None, (rows[0]["config"], rows[0]["value"]))))
    cells = []
    for row in rows:
        numbers = [row["mean"], row["spread"], *row["by_seed"].values()]
        digits = shown_digits(row["mean"])
        name = [row["config"], *([row["value"]] if vary else [])]
        last = difference_cells(row["difference"], digits) if compares else []
        cells.append([*name, *(f"{number:.{digits}f}" for number in numbers), *last])
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def write_table(rows: list[dict], metric: str, path: Path) -> None:
    """Write a CSV file with one line for every run."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["config", "value", "seed", metric])
        writer.writerows(
            (csv_text(row["config"]), csv_text(row["value"] or ""), seed, last)
            for row in rows
            for seed, last in row["by_seed"].items()
        )


def draw(runs: list[Run], rows: list[dict], metric: str, vary: str | None, path: Path) -> None:
    """Draw the mean of each config as a line, and the range of its seeds as a band.

    The x axis shows the iterations or, if a key is varied, the values of that key.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name in dict.fromkeys(run.name for run in runs):
        if vary:
            own = [row for row in rows if row["config"] == name]
            places: list[Any] = [plot_text(row["value"]) for row in own]
            values = [list(row["by_seed"].values()) for row in own]
        else:
            curves = [dict(run.curve(metric)) for run in runs if run.name == name]
            common = sorted(set(curves[0]).intersection(*curves[1:]))
            places, values = common, [[curve[place] for curve in curves] for place in common]
        (line,) = axes.plot(places, [statistics.mean(each) for each in values], marker="o", label=plot_text(name))
        axes.fill_between(
            places, [min(each) for each in values], [max(each) for each in values], color=line.get_color(), alpha=0.2
        )
    axes.set(xlabel=plot_text(vary or "iterations"), ylabel=plot_text(metric))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def compare_groups(args: argparse.Namespace) -> None:
    """Print the table that compares groups of runs that have ended.

    Raises:
        ValueError: A run has not ended, lacks the metric, or has a seed that the first group does not have.
    """
    if args.over == "images":
        print(f"mIoU with intervals over the images ({args.resamples} resamples); groups show the mean of their runs\n")
        print(table_over_images(args.groups, resamples=args.resamples))
        return
    groups = {name: [FinishedRun.read(folder) for folder in folders] for name, folders in args.groups.items()}
    for metric in args.metric or [next(iter(groups.values()))[0].settings.get("best_metric")]:
        print(f"{metric} after the last iteration; differences over pairs of runs with the same seed\n")
        print(table_over_seeds({name: results_by_seed(name, runs, metric) for name, runs in groups.items()}))


def main(args: argparse.Namespace) -> None:
    """Compare groups of runs that have ended, or train the runs that are missing and write and print their results."""
    if args.group:
        compare_groups(args)
        return
    runs = plan(args)
    for run in runs:
        prepare(run)
    default_jobs = 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))
    train_all(runs, default_jobs if args.jobs is None else args.jobs)

    first = load_config(args.config_file[0], args.overrides, trust_config=args.trust_config)
    vary = args.vary[0] if args.vary else None
    for metric in args.metric or [first.train.best_metric]:
        rows = summarise(runs, metric)
        suffix = f"_{metric.replace('/', '_')}" if args.metric else ""
        table, picture = args.output / f"results{suffix}.csv", args.output / f"curves{suffix}.png"
        write_table(rows, metric, table)
        draw(runs, rows, metric, vary, picture)
        print(f"{metric} after the last iteration, mean and standard deviation of {len(args.seeds)} seeds\n")
        print(report(rows, vary, args.seeds))
        print(f"\n{table}\n{picture}\n")
