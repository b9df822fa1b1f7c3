"""The body of the command `benchmark`, which measures the cases of a benchmark."""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

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


def run(args: argparse.Namespace, benchmark: ModuleType) -> list[dict]:
    """Measure the chosen cases and return the rows of the table."""
    torch.set_num_threads(args.threads)
    all_cases = benchmark.cases(args)
    chosen = choose(list(all_cases), args.only)
    if args.list:
        print("\n".join(chosen))
        return []
    rows = []
    for title in tqdm(chosen, unit="case", disable=None):
        torch.manual_seed(0)
        case = all_cases[title]()
        if args.peak_of:
            print(*peak_memory(getattr(case, args.peak_of), args.device))
            return []
        try:
            measured = case.measure(Clock(args.device), args.pairs)
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from error
        del case
        memory = peaks(args.words, title) if args.memory else {}
        measured = [{"case": title} | row | memory for row in measured]
        rows += measured
        if args.json:
            tqdm.write("\n".join(map(json.dumps, measured)))
    return rows


def main(args: argparse.Namespace) -> None:
    """Run the benchmark that the arguments name, and print a table."""
    args.device = torch.device(resolve_device(args.device))
    benchmark = importlib.import_module(f"benchmarks.{args.name}")
    rows = run(args, benchmark)
    if not rows or args.json:
        return
    where = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else f"CPU, {args.threads} thread(s)"
    print(f"{where}, torch {torch.__version__}, median of {args.pairs}")
    rows = vars(benchmark).get("table", list)(rows)  # a benchmark may print fewer columns than its rows have
    print(tabulate(rows, headers="keys", floatfmt=".3g", tablefmt="github"))
