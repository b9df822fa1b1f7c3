#!/usr/bin/env python
"""Train several configs with several seeds and set their results side by side: a table with the spread, and a picture.

    tools/compare.py --config-file A B ... --output DIR [--seeds 0 1 2] [--vary KEY V1 ...] [--jobs J] [key=value ...]

Every run has a folder in DIR. A run that is complete is not repeated and one that was cut off goes on, so the same
command with more seeds or configs adds to what is there. DIR gets `results.csv` (a line per run) and `curves.png`: the
metric over the iterations or, with --vary, over the values of that key. With --metric the files have its name too.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate
from tqdm import tqdm

from tokenseg.config.load import load_config
from tokenseg.config.overrides import split_overrides

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """One training: a config, the value of the key that varies (if any), a seed."""

    config: str
    value: str | None
    seed: int
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.config).stem

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """(iteration, metric) of every evaluation so far."""
        path = self.folder / "metrics.json"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return sorted({line["iteration"] + 1: line[metric] for line in lines if metric in line}.items())

    def is_complete(self) -> bool:
        return (self.folder / "model_final.pth").exists()

    def train(self, threads: int) -> None:
        """Run train_net.py to the end; RuntimeError, naming its output, if that fails."""
        output = self.folder / "output.txt"
        command = [
            sys.executable,
            str(ROOT / "train_net.py"),
            "--config-file",
            self.config,
            "--resume",
            *self.overrides,
        ]
        with output.open("a") as stream:
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            code = subprocess.run(command, env=environment, stdout=stream, stderr=subprocess.STDOUT).returncode
        if code:
            raise RuntimeError(f"{self.folder.name} failed with exit code {code}; its output is in {output}")


def plan(args: argparse.Namespace) -> list[Run]:
    """All runs that are asked for, each with its folder.

    Raises:
        ValueError: configs of one name, or overrides that a config does not take.
    """
    stems = [Path(path).stem for path in args.config_file]
    if len(set(stems)) < len(stems):
        raise ValueError(f"--config-file names {', '.join(stems)}; wanted different names, since folders have them")
    key, *values = args.vary or [None, None]
    if args.vary and not values:
        raise ValueError(f"--vary {key} has no values; wanted KEY V1 V2 ...")
    runs = []
    for seed in args.seeds:
        for value in values:
            for path in args.config_file:
                name = Path(path).stem if value is None else f"{Path(path).stem}_{key.split('.')[-1]}_{value}"
                folder = args.output / f"{name}_seed_{seed}"
                own = [f"train.seed={seed}", f"train.output_dir={folder}"] + ([f"{key}={value}"] if value else [])
                load_config(path, [*args.overrides, *own])
                runs.append(Run(path, value, seed, folder, (*args.overrides, *own)))
    return runs


def prepare(run: Run) -> None:
    """Make the folder of a run, or see that what it holds is the same run.

    Raises:
        ValueError: it holds a run with other overrides.
    """
    note = run.folder / "compare.json"
    wanted = [run.config, *run.overrides]
    if note.exists() and json.loads(note.read_text()) != wanted:
        had = " ".join(json.loads(note.read_text()))
        raise ValueError(
            f"{run.folder} holds '{had}'; wanted '{' '.join(wanted)}': name another --output, or remove it"
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(wanted))


def train_all(runs: list[Run], jobs: int) -> None:
    """Train what is not complete, `jobs` at a time; what runs is let end when one fails."""
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    missing = [run for run in runs if not run.is_complete()]
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(runs), initial=len(runs) - len(missing), unit="run") as bar:
        waiting = [pool.submit(run.train, threads) for run in missing]
        try:
            for done in as_completed(waiting):
                done.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def summarise(runs: list[Run], metric: str) -> list[dict]:
    """A row per config and value: metric of the last evaluation by seed, its mean and standard deviation."""
    groups = defaultdict(list)
    for run in runs:
        curve = run.curve(metric)
        if not curve:
            raise ValueError(f"{run.folder / 'metrics.json'} has no {metric}; wanted --metric to be a key of it")
        groups[run.name, run.value].append((run.seed, curve[-1][1]))
    return [
        {
            "config": name,
            "value": value,
            "mean": statistics.mean(last for _, last in group),
            "spread": statistics.stdev(last for _, last in group) if len(group) > 1 else float("nan"),
            "by_seed": dict(group),
        }
        for (name, value), group in groups.items()
    ]


def report(rows: list[dict], vary: str | None, seeds: list[int]) -> str:
    """The table, in Markdown."""
    headers = ["config", *([vary] if vary else []), "mean", "spread", *(f"seed {seed}" for seed in seeds)]
    cells = []
    for row in rows:
        numbers = [row["mean"], row["spread"], *row["by_seed"].values()]
        digits = 1 if row["mean"] >= 10 else 3  # per cent, or nats and variances
        cells.append(
            [row["config"], *([row["value"]] if vary else []), *(f"{number:.{digits}f}" for number in numbers)]
        )
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def draw(runs: list[Run], rows: list[dict], metric: str, vary: str | None, path: Path) -> None:
    """One line per config, the range of the seeds as a band."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name in dict.fromkeys(run.name for run in runs):
        if vary:
            own = [row for row in rows if row["config"] == name]
            places, values = [row["value"] for row in own], [list(row["by_seed"].values()) for row in own]
        else:
            curves = [dict(run.curve(metric)) for run in runs if run.name == name]
            places = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = [[curve[place] for curve in curves] for place in places]
        (line,) = axes.plot(places, [statistics.mean(each) for each in values], marker="o", label=name)
        axes.fill_between(
            places, [min(each) for each in values], [max(each) for each in values], color=line.get_color(), alpha=0.2
        )
    axes.set(xlabel=vary or "iterations", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", nargs="+", required=True, metavar="C")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--vary", nargs="+", metavar="KEY V1", help="a key of the config and the values it takes")
    parser.add_argument(
        "--metric", metavar="KEY", help="of metrics.json, like tokens_class/S_C; default train.best_metric of the first"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1 if torch.cuda.is_available() else cores,
        help="runs at a time; by default as many as cores, or 1 where there is a GPU",
    )
    words, overrides = split_overrides(argv)
    args = parser.parse_args(words)
    args.overrides = overrides
    runs = plan(args)
    for run in runs:
        prepare(run)
    train_all(runs, max(1, args.jobs))

    metric = args.metric or load_config(args.config_file[0], args.overrides).train.best_metric
    rows = summarise(runs, metric)
    vary = args.vary[0] if args.vary else None
    suffix = f"_{args.metric.split('/')[-1]}" if args.metric else ""
    table, picture = args.output / f"results{suffix}.csv", args.output / f"curves{suffix}.png"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["config", "value", "seed", metric])
        writer.writerows(
            (row["config"], row["value"], seed, last) for row in rows for seed, last in row["by_seed"].items()
        )
    draw(runs, rows, metric, vary, picture)
    print(f"{metric} after the last iteration, mean and standard deviation of {len(args.seeds)} seeds\n")
    print(report(rows, vary, args.seeds))
    print(f"\n{table}\n{picture}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, RuntimeError) as error:
        sys.exit(f"compare.py: error: {error}")
