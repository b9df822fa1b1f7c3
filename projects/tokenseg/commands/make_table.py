"""The body of the command `make_table`, which makes all runs of a table file and writes its tables."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from detectron2.config import LazyConfig
from omegaconf import DictConfig

from ..config.load import load_config
from ..config.shipped import table_file
from ..tables.markdown import markdown_table, run_metrics, write_csv
from ..tables.queue import RunQueue
from ..tables.table_file import TableFile, TableRun, chosen_rows, planned_runs, read_table_file
from .train_process import tokenseg_command, train_command


def steps(run: TableRun, *, trust: bool = False) -> list[list[str]]:
    """Return a run's command lines: the training, which resumes if it was interrupted, and the commands after it."""
    words = ["--config-file", str(run.row.config), "--resume", *["--trust-config"] * trust, *run.overrides]
    return [train_command(*words), *(tokenseg_command(*command) for command in run.then)]


def check_runs(runs: Sequence[TableRun], *, trust: bool = False) -> dict[Path, DictConfig]:
    """Load the configs of all runs before any run starts, so that a mistake is found early.

    Returns:
        The config of each run, by the folder of the run.

    Raises:
        ValueError: A config does not accept the overrides of a run, or a command does not exist.
    """
    for name in {command[0] for run in runs for command in run.then}:
        asked = subprocess.run(tokenseg_command(name, "--help"), capture_output=True, text=True)
        if asked.returncode:
            raise ValueError(f"a row has the command '{name}' in `then`: {asked.stderr.strip()}")
    return {run.folder: load_config(str(run.row.config), run.overrides, trust_config=trust) for run in runs}


def made_otherwise(folder: Path, config: DictConfig) -> bool:
    """Return whether a run was made with a config other than `config`."""
    before = folder / "config.yaml"
    if not before.exists():
        return False
    with tempfile.TemporaryDirectory() as new:
        LazyConfig.save(config, f"{new}/config.yaml")
        return Path(new, "config.yaml").read_text() != before.read_text()


def tell(line: str) -> None:
    """Print a line immediately, without buffering, even if the output goes to a file."""
    print(line, flush=True)


def make_runs(
    file: TableFile, *, overrides: Sequence[str] = (), jobs: int | None = None, trust: bool = False
) -> RunQueue:
    """Make the unfinished runs of a table file, and return the queue, which knows which runs have failed."""
    runs = planned_runs(file, overrides)
    tables = {row.name: table for table in file.tables for row in table.rows}

    def result(run: TableRun) -> str:
        return ", ".join(f"{title} {value:.4g}" for title, value in run_metrics(tables[run.row.name], run).items())

    default_jobs = 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))
    configs = check_runs(runs, trust=trust)
    queue = RunQueue(
        runs=runs,
        iterations={folder: config.train.max_iter for folder, config in configs.items()},
        steps=lambda run: steps(run, trust=trust),
        result=result,
        tell=tell,
        jobs=default_jobs if jobs is None else jobs,
    )
    for folder in sorted(queue.finished):
        if made_otherwise(folder, configs[folder]):
            tell(f"{folder} was finished with a config that has changed since; remove the folder to make the run again")
    queue.work()
    return queue


def write_tables(file: TableFile, queue: RunQueue) -> str:
    """Write `tables.md` and `results.csv` into the folder of all runs, and return the text of `tables.md`."""
    done = [run for run in queue.runs if run.folder in queue.finished]
    text = "\n\n".join(markdown_table(table, done) for table in file.tables) + "\n"
    file.output.mkdir(parents=True, exist_ok=True)
    (file.output / "tables.md").write_text(text)
    write_csv(file.output / "results.csv", file.tables, done)
    return text


def main(args: argparse.Namespace) -> int | None:
    """Make the missing runs of a table, and write and print the table; return 1 if a run has failed."""
    file = read_table_file(table_file(args.table))
    file = replace(file, output=args.output or file.output)
    file = chosen_rows(file, args.rows, args.seeds)
    queue = make_runs(file, overrides=args.overrides, jobs=args.jobs, trust=args.trust_config)
    print(f"\n{write_tables(file, queue)}\n{file.output / 'tables.md'}\n{file.output / 'results.csv'}")
    if queue.failed:
        print("\nfailed:", *queue.failed.values(), sep="\n  ", file=sys.stderr)
        return 1
    return None
