#!/usr/bin/env python
"""Kill a training at random moments, resume it each time, and compare what it leaves with what an unbroken one does:
weights, best checkpoint, rows of metrics.json, and which files there are.

    python tests/kill_and_resume.py [--kills 20] [--seed 0]

Not part of the test suite: it takes minutes. Ends with exit code 1 unless all are equal, bit for bit.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runs import left_behind

ROOT = Path(__file__).resolve().parents[1]
ITERATIONS = 200
EVAL_PERIOD = 8


def start(folder: Path, *words: str) -> subprocess.Popen:
    overrides = [
        f"train.output_dir={folder}",
        f"train.max_iter={ITERATIONS}",
        "train.device=cpu",
        f"train.eval_period={EVAL_PERIOD}",
        "train.log_period=1",
        "train.checkpointer={period: 1, max_to_keep: 3}",
        "lr_multiplier.warmup_iter=5",
        "dataloader.train.total_batch_size=2",
    ]
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(ROOT / "train_net.py"),
        "--config-file",
        str(ROOT / "configs/quickstart.py"),
    ]
    return subprocess.Popen(
        [*command, *overrides, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"a run failed:\n{errors}")


def wait_for_progress(process: subprocess.Popen, last: Path) -> None:
    """Until the run has written a checkpoint of its own."""
    before = last.stat().st_mtime_ns if last.exists() else None
    while process.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
        time.sleep(0.01)


def kill_at_random(folder: Path, draw: random.Random) -> str:
    """Go on with the run in `folder` and kill it: every fourth time anywhere in its start, else among its steps."""
    process, last = start(folder, "--resume"), folder / "last_checkpoint"
    in_start = draw.random() < 0.25
    if not in_start:
        wait_for_progress(process, last)
    wait = draw.uniform(0, 8 if in_start else 2)
    time.sleep(wait)
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    moment = "after its end" if ended else f"{wait:.2f} s after {'its start' if in_start else 'a checkpoint'}"
    return f"{moment}; last checkpoint {last.read_text() if last.exists() else 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        unbroken, broken = Path(name, "unbroken"), Path(name, "broken")
        for kill in range(args.kills):
            print(f"kill {kill + 1}: {kill_at_random(broken, draw)}", flush=True)
        finish(start(broken, "--resume"))
        finish(start(unbroken))
        wanted, got = left_behind(unbroken), left_behind(broken)
    different = [name for name in wanted if wanted[name] != got[name]]
    if different:
        weights = [name for name, value in wanted["weights"].items() if got["weights"].get(name) != value]
        sys.exit(f"{', '.join(different)} differ; weights that do: {', '.join(weights[:5]) or 'none'}")
    print(f"{args.kills} kills: all {len(wanted['weights'])} weights and {len(wanted['rows'])} rows equal bit for bit")


if __name__ == "__main__":
    main()
