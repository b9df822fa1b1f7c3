"""The body of the command `benchmark`, which measures the cases of a benchmark."""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

from tokenseg.engine.devices import resolve_device

from ._runs import Clock, Memory, peak_memory

SCRIPT = Path(__file__).resolve().parents[1] / "benchmark.py"


def choose(titles: list[str], only: list[str]) -> list[str]:
    """Return the titles that contain all words of `only`, or only one title if the words are exactly this title."""
    wanted = " ".join(only)
    chosen = [title for title in titles if set(wanted.split()) <= set(title.split())]
    if wanted in titles:
        return [wanted]
    if not chosen:
        raise ValueError(f"--only {wanted} matches no case; wanted words of: {'; '.join(titles)}")
    return chosen


def peaks(words: Sequence[str], title: str) -> dict:
    """Measure the peak memory of both sides of a case, each in a new process.

    Returns:
        The peak of both sides in MiB, their ratio, `memory`, and the ratio without what was allocated before the run,
        such as the model, `of a run`.

    Raises:
        ChildProcessError: A process failed.
    """
    found: dict[str, Memory] = {}
    for side in ("ours", "rival"):
        command = [sys.executable, str(SCRIPT), *words, "--only", *title.split(), "--peak-of", side]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.stderr.write(done.stderr)
            raise ChildProcessError(f"measuring the memory of '{side}' in {title} failed; see the error above")
        found[side] = Memory(*map(float, done.stdout.split()[-2:]))
    ours, rival = found["ours"], found["rival"]
    return {
        "ours MiB": ours.peak,
        "rival MiB": rival.peak,
        "memory": ours.peak / rival.peak,
        "of a run": (ours.peak - ours.before) / max(rival.peak - rival.before, 1.0),
    }


def run(args: argparse.Namespace, benchmark: ModuleType) -> tuple[list[dict], list[str]]:
    """Measure the chosen cases.

    Returns:
        The rows of the table, and what is wrong with each case that could not be measured.
    """
    torch.set_num_threads(args.threads)
    all_cases = benchmark.cases(args)
    chosen = choose(list(all_cases), args.only)
    if args.list:
        print("\n".join(chosen))
        return [], []
    if args.peak_of:
        (title,) = chosen
        print(*peak_memory(getattr(_built(all_cases, title), args.peak_of), args.device))
        return [], []
    rows, failures = [], []
    for title in tqdm(chosen, unit="case", disable=None):
        try:
            case = _built(all_cases, title)
            if args.memory and not {"ours", "rival"} <= vars(case).keys():
                raise ValueError("--memory is given, but this case does not compare two sides; wanted none")
            measured = case.measure(Clock(args.device), args.pairs)
            del case  # its models need not take memory while both sides run again in processes of their own
            memory = peaks(args.words, title) if args.memory else {}
        except (ValueError, ChildProcessError) as error:
            failures.append(f"{title}: {error}")
            continue
        measured = [{"case": title} | row | memory for row in measured]
        rows += measured
        if args.json:
            tqdm.write("\n".join(map(json.dumps, measured)))
    return rows, failures


def _built(cases: Mapping[str, Callable], title: str) -> Any:
    torch.manual_seed(0)
    return cases[title]()


def main(args: argparse.Namespace) -> None:
    """Run the benchmark that the arguments name, and print a table.

    Raises:
        ValueError: Cases could not be measured. The table of the others has been printed.
    """
    args.device = torch.device(resolve_device(args.device))
    benchmark = importlib.import_module(f"benchmarks.{args.name}")
    rows, failures = run(args, benchmark)
    if rows and not args.json:
        cuda = args.device.type == "cuda"
        where = torch.cuda.get_device_name(args.device) if cuda else f"CPU, {args.threads} thread(s)"
        print(f"{where}, torch {torch.__version__}, median of {args.pairs}")
        rows = vars(benchmark).get("table", list)(rows)  # a benchmark may print fewer columns than its rows have
        print(tabulate(rows, headers="keys", floatfmt=".3g", tablefmt="github"))
    if failures:
        raise ValueError("\n".join(failures))
