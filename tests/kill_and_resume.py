#!/usr/bin/env python
"""Kill trainings at random moments, resume them each time, and compare their results with uninterrupted trainings.

    python tests/kill_and_resume.py [--kills 50] [--seed 0] [--methods structtoken segvit ecenet sgr]

Small models of all methods train on a few images of ShapeScenes, in one process and in two, which find one another as
those of torchrun do. Kills are aimed at the start, a step, a checkpoint, an evaluation, or the end, which is the work
after the last step; the table shows where they hit. Half of the runs are killed by SIGKILL. Their weights, best
checkpoint, rows of metrics.json and files must then equal those of the uninterrupted run. The other half is stopped by
SIGTERM, which leaves additional checkpoints. Of two processes sometimes only one is hit. Each run is forked from this
process, so that torch is imported only once.

This program is not part of the test suite, since it takes minutes. Its exit code is 1 unless all results are bitwise
equal.
"""

import argparse
import itertools
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate

from runs import left_behind
from tokenseg.commands import train as _warm  # noqa: F401  imports the modules that a run needs before it is forked
from tokenseg.datasets.records import load_records
from tokenseg.engine.checkpoint import Checkpointer
from tokenseg.engine.evaluation import Evaluation
from tokenseg.engine.hooks import Bookkeeping
from tokenseg.engine.processes import free_meeting
from tokenseg.engine.trainer import Trainer
from tokenseg_cli.run import run

CONFIGS = Path(__file__).resolve().parents[1] / "configs/shape_scenes"
ITERATIONS = 14
SHARED = [
    f"train.max_iter={ITERATIONS}",
    "train.device=cpu",
    "train.eval_period=4",
    "train.log_period=2",
    "train.checkpointer={period: 3, max_to_keep: 2}",
    "lr_multiplier.warmup_iter=2",
    "dataloader.train={total_batch_size: 2, num_workers: 0}",
    "dataloader.test.num_workers=0",
    "dataset={train: few_shapes, test: few_shapes, crop: 64}",
]
VIT = ["vit={channels: 48, last_block: 3}", "model.backbone.timm_args={depth: 4, num_heads: 3}"]
METHODS = {
    "structtoken": ("structtoken_pwe", [*VIT, "model.sem_seg_head.blocks.num_blocks=1"]),
    "segvit": ("segvit", [*VIT, "model.backbone.out_blocks=[1,3]", "decoder={width: 32, num_heads: 2}"]),
    "ecenet": (
        "ecenet",
        [
            "pyramid.channels=[8,16,32,64]",
            "model.backbone.timm_args={embed_dim: 8, depths: [1,1,1,1], num_heads: [1,2,4,8], window_size: 4}",
            "model.sem_seg_head.width=16",
        ],
    ),
    "sgr": (
        "sgr_sgr",
        [
            "pyramid.channels=[8,8,16,16]",
            "model.sem_seg_head.width=128",
            "model.extra_losses.auxiliary.head.width=16",
            "sgr={num_concepts: 12, num_active: 8}",
            "model.backbone.components.res5.width=16",
        ],
    ),
}
PHASES = ("start", "step", "checkpoint", "evaluation", "end")
START, STEP, CHECKPOINT, EVALUATION, END = range(len(PHASES))
AFTER_END = len(PHASES)


class Clock:
    """The current phase of the first process of a run, in memory that this process shares with it."""

    _LAYOUT = struct.Struct("d" * (1 + 2 * len(PHASES)))

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._LAYOUT.size)
        self._entered = time.monotonic()

    def _read(self) -> list[float]:
        return list(self._LAYOUT.unpack(self._memory[:]))

    @property
    def phase(self) -> int:
        return int(self._read()[0])

    def entries(self, phase: int) -> int:
        return int(self._read()[1 + phase])

    def duration(self, phase: int) -> float:
        """Return the mean duration of a phase in seconds."""
        values = self._read()
        return values[1 + len(PHASES) + phase] / max(values[1 + phase], 1)

    def enter(self, phase: int, *, again: bool = False) -> int:
        """Enter a phase, or return to it with `again`, and return the phase before."""
        values, now = self._read(), time.monotonic()
        before = int(values[0])
        values[1 + len(PHASES) + before] += now - self._entered
        values[0], self._entered = phase, now
        values[1 + phase] += not again
        self._memory[:] = self._LAYOUT.pack(*values)
        return before

    def watch(self, owner: type, name: str, phase: int) -> None:
        """Make each call of a method a phase, except inside an evaluation or the end."""
        original = getattr(owner, name)

        def method(*args: object, **options: object) -> object:
            before = self.phase
            if before in (EVALUATION, END):
                return original(*args, **options)
            self.enter(phase)
            try:
                return original(*args, **options)
            finally:
                self.enter(STEP if before == START and phase == STEP else before, again=True)

        setattr(owner, name, method)

    def watch_end(self) -> None:
        """Make the phase `end` begin after the last step."""
        original = Bookkeeping.after_step

        def after_step(hook: Bookkeeping) -> None:
            if hook.trainer.iter == ITERATIONS - 1:
                self.enter(END)
            original(hook)

        Bookkeeping.after_step = after_step


class Training:
    """A run in progress, in one process or two."""

    def __init__(self, method: str, folder: Path, processes: int) -> None:
        self.clock, meeting = Clock(), free_meeting()
        self.clock.enter(START)
        self.pids = [self._fork(method, folder, rank, processes, meeting) for rank in range(processes)]
        self.codes: dict[int, int] = {}

    def _fork(self, method: str, folder: Path, rank: int, processes: int, meeting: str) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            output = os.open(f"{folder}.{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if processes > 1:
                host, port = meeting.removeprefix("tcp://").split(":")
                names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
                values = (rank, rank, processes, processes, host, port)
                os.environ |= {name: str(value) for name, value in zip(names, values, strict=True)}
            if rank == 0:
                self.clock.watch(Trainer, "run_step", STEP)
                self.clock.watch(Checkpointer, "save", CHECKPOINT)
                self.clock.watch(Evaluation, "__call__", EVALUATION)
                self.clock.watch_end()
            config, small = METHODS[method]
            words = ["--config-file", str(CONFIGS / f"{config}.py"), "--resume", *SHARED, *small]
            code = run("train", ["train_net.py", *words, f"train.output_dir={folder}"]) or 0
            if rank == 0 and not code:
                self.clock.enter(AFTER_END - 1, again=True)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            os.write(2, f"{stop.code}\n".encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def is_running(self) -> bool:
        for pid in self.pids:
            if pid not in self.codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) < len(self.pids)

    def wait_until(self, phase: int, entry: int) -> None:
        while self.is_running() and not (self.clock.phase == phase and self.clock.entries(phase) >= entry):
            time.sleep(0.0005)

    def end(self, signum: int, pids: list[int]) -> tuple[int, float]:
        """Send a signal to some processes and wait until all have ended.

        If only some end, the others get a signal too, as from a launcher.

        Returns:
            The phase that was hit, and the number of seconds until all processes had ended.
        """
        phase, start = (self.clock.phase, time.monotonic()) if self.is_running() else (AFTER_END, time.monotonic())
        for pid in pids:
            if pid not in self.codes:
                os.kill(pid, signum)
        told = False
        while self.is_running():
            if self.codes and not told and time.monotonic() - start > 3:
                told = True
                for pid in set(self.pids) - set(self.codes):
                    os.kill(pid, signal.SIGKILL if signum == signal.SIGKILL else signal.SIGTERM)
            if time.monotonic() - start > 60:
                for pid in set(self.pids) - set(self.codes):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        return phase, time.monotonic() - start

    def finish(self, folder: Path) -> None:
        while self.is_running():
            time.sleep(0.01)
        if any(self.codes.values()):
            sys.exit(f"a run failed with {self.codes}:\n{Path(f'{folder}.0.txt').read_text()[-3000:]}")


@dataclass
class Series:
    """A run that is killed and resumed several times."""

    method: str
    processes: int
    signum: int
    aims: list[int] = field(default_factory=list)
    hits: Counter = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def do(self, folder: Path, unbroken: Training, wanted: dict, draw: random.Random) -> None:
        broken = folder / f"{self.method}_{self.processes}_{self.signum}"
        for aim in sorted(self.aims, key=lambda aim: (aim == END, draw.random())):
            training = Training(self.method, broken, self.processes)
            training.wait_until(aim, draw.randint(1, 3 if aim in (STEP, CHECKPOINT) else 1))
            time.sleep(draw.uniform(0, unbroken.clock.duration(aim)))
            pids = training.pids if draw.random() < 0.6 else [draw.choice(training.pids)]
            phase, seconds = training.end(self.signum, pids)
            self.hits[phase] += 1
            self._check(training, broken, phase, seconds, everyone=pids == training.pids)
        Training(self.method, broken, self.processes).finish(broken)
        wanted, got = _comparable(wanted, self.signum), _comparable(left_behind(broken), self.signum)
        self.wrong += [f"{name} differ" for name in wanted if wanted[name] != got[name]]

    def _check(self, training: Training, broken: Path, phase: int, seconds: float, *, everyone: bool) -> None:
        """Check the exit codes after SIGTERM.

        All processes must end with 143, or with 0 if no work was left. At the start, while the processes look for one
        another, the signal may also kill them directly, and processes that did not get it may fail.
        """
        if self.signum != signal.SIGTERM:
            return
        self.slowest = max(self.slowest, seconds)
        allowed = {0, 143} if phase in (END, AFTER_END) else {143}
        allowed |= {-signal.SIGTERM} if phase == START else set()
        allowed |= {1} if phase == START and not everyone else set()
        if not set(training.codes.values()) <= allowed:
            codes = [training.codes[pid] for pid in training.pids]
            self.wrong.append(f"exit codes {codes} in {PHASES[phase]}")
            for rank, code in enumerate(codes):
                if code not in allowed:
                    print(f"process {rank}:\n{Path(f'{broken}.{rank}.txt').read_text()[-2000:]}", flush=True)


def _comparable(left: dict, signum: int) -> dict:
    """Select the results that must be equal: after SIGTERM a run may have additional checkpoints."""
    if signum == signal.SIGKILL:
        return left
    ours = ("model_final.pth", "model_best.pth")
    return {
        "weights": {name: value for name, value in left["weights"].items() if name.endswith(ours)},
        "best": left["best"],
        "iterations": {name: left["iterations"][name] for name in ours},
        "rows": left["rows"],
    }


def few_shapes() -> None:
    """Register some images of ShapeScenes as a data set."""
    whole = "shapes_sem_seg_val"
    records = load_records(whole)[:10]
    DatasetCatalog.register("few_shapes", lambda: records)
    metadata = MetadataCatalog.get(whole).as_dict()
    MetadataCatalog.get("few_shapes").set(**{key: value for key, value in metadata.items() if key != "name"})


def plan(methods: list[str], kills: int) -> list[Series]:
    """Distribute the kills: each series goes through all phases in turn, and all phases occur equally often."""
    signals = (signal.SIGKILL, signal.SIGTERM)
    series = [Series(*one) for one in itertools.product(methods, (1, 2), signals)]
    for number in range(kills):
        turn, place = divmod(number, len(series))
        series[place].aims.append((turn + place) % len(PHASES))
    return series


def table(series: list[Series]) -> str:
    rows = [
        [
            one.method,
            one.processes,
            signal.Signals(one.signum).name,
            *(one.hits[phase] or "" for phase in range(len(PHASES))),
            one.hits[AFTER_END] or "",
            f"{one.slowest:.1f}" if one.slowest else "",
            "; ".join(one.wrong) or "all equal",
        ]
        for one in series
    ]
    sums = [sum(one.hits[phase] for one in series) for phase in range(len(PHASES) + 1)]
    rows.append(["all", "", "", *sums, f"{max(one.slowest for one in series):.1f}", ""])
    headers = ["method", "processes", "signal", *PHASES, "too late", "seconds to end", "after the last resume"]
    return tabulate(rows, headers=headers, tablefmt="github")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    args = parser.parse_args()
    few_shapes()
    draw, series = random.Random(args.seed), plan(args.methods, args.kills)
    with tempfile.TemporaryDirectory() as name:
        for (method, processes), group in itertools.groupby(series, key=lambda one: (one.method, one.processes)):
            folder = Path(name, f"{method}_{processes}")
            unbroken = Training(method, folder, processes)
            unbroken.finish(folder)
            wanted = left_behind(folder)
            for one in group:
                one.do(Path(name), unbroken, wanted, draw)
                result = "; ".join(one.wrong) or "all equal"
                print(f"{method}, {processes} process(es), {signal.Signals(one.signum).name}: {result}", flush=True)
    print(f"\n{table(series)}")
    if any(one.wrong for one in series):
        sys.exit("runs that were interrupted differ from uninterrupted ones")


if __name__ == "__main__":
    main()
