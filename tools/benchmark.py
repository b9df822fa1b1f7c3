#!/usr/bin/env python
"""Speed and memory: ours against a named rival, part by part, or of a whole model.

    tools/benchmark.py NAME [--only WORD ...] [--pairs 5] [--memory] [--json] [key=value ...]
    tools/benchmark.py NAME --help       # what it measures, and its own options
    tools/benchmark.py NAME --list       # its cases

NAME is a file of benchmarks/. Two sides run in turns, timed by CPU time of one thread, or by wall time on a GPU; the
ratio is the median over the pairs. First their outputs are compared: a case whose sides differ fails.
"""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch
from tabulate import tabulate
from tqdm import tqdm

from tokenseg.engine.devices import resolve_device
from tokenseg_cli.overrides import split_overrides

HERE = Path(__file__).resolve().parent
# The benchmarks, and the plain renderings that they run against, are imported from this folder.
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

NAMES = sorted(path.stem for path in (HERE / "benchmarks").glob("*.py") if path.stem[0] != "_")


def parse(argv: list[str]) -> tuple[argparse.Namespace, ModuleType]:
    """The command line, and the benchmark that it names, whose own options are among them."""
    words, overrides = split_overrides(argv)
    name = words[0] if words else ""
    if name not in NAMES and not {"-h", "--help"} & set(words):
        raise ValueError(f"there is no benchmark '{name}'; wanted one of {', '.join(NAMES)}")
    benchmark = importlib.import_module(f"benchmarks.{name}") if name in NAMES else None
    parser = argparse.ArgumentParser(
        description=benchmark.__doc__ if benchmark else __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases with all these in their title")
    parser.add_argument("--list", action="store_true", help="print the titles of the cases, and nothing else")
    parser.add_argument("--pairs", type=int, default=5, help="rounds that are measured (default 5)")
    parser.add_argument("--memory", action="store_true", help="peak memory too, each side in a process of its own")
    parser.add_argument("--json", action="store_true", help="one line of JSON a row")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default 1); with more, wall time counts")
    parser.add_argument("--peak-of", choices=("ours", "rival"), help=argparse.SUPPRESS)
    if benchmark and hasattr(benchmark, "add_arguments"):
        benchmark.add_arguments(parser)
    args = parser.parse_args(words)
    if args.pairs < 1:
        raise ValueError(f"--pairs is {args.pairs}; wanted 1 or more")
    args.overrides, args.device = overrides, torch.device(resolve_device(args.device))
    return args, benchmark


def choose(titles: list[str], only: list[str]) -> list[str]:
    """The titles with all words of `only` in them, or the one that these are."""
    wanted = " ".join(only)
    chosen = [title for title in titles if set(wanted.split()) <= set(title.split())]
    if wanted in titles:
        return [wanted]
    if not chosen:
        raise ValueError(f"--only {wanted} fits no case; wanted words of: {'; '.join(titles)}")
    return chosen


def peaks(argv: list[str], title: str) -> dict:
    """Peak memory of both sides of a case, in MiB, and ours over the rival's."""
    found = {}
    for side in ("ours", "rival"):
        command = [sys.executable, str(Path(__file__).resolve()), *argv, "--only", *title.split(), "--peak-of", side]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"the measurement of memory failed:\n{done.stderr}")
        found[f"{side} MiB"] = float(done.stdout.split()[-1])
    return found | {"memory": found["ours MiB"] / found["rival MiB"]}


def run(args: argparse.Namespace, benchmark: ModuleType, argv: list[str]) -> list[dict]:
    """Measure the chosen cases; a list of rows."""
    from benchmarks._runs import Clock, peak_memory

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
            print(peak_memory(getattr(case, args.peak_of), args.device))
            return []
        try:
            measured = case.measure(Clock(args.device), args.pairs)
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from error
        del case
        memory = peaks(argv, title) if args.memory else {}
        measured = [{"case": title} | row | memory for row in measured]
        rows += measured
        if args.json:
            tqdm.write("\n".join(map(json.dumps, measured)))
    return rows


def main(argv: list[str]) -> None:
    args, benchmark = parse(argv)
    rows = run(args, benchmark, argv)
    if not rows or args.json:
        return
    where = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else f"CPU, {args.threads} thread(s)"
    print(f"{where}, torch {torch.__version__}, median of {args.pairs}")
    print(tabulate(rows, headers="keys", floatfmt=".3g", tablefmt="github"))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"benchmark.py: error: {error}")
