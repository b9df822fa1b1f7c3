"""The body of the command `quickstart`, which trains and evaluates a small model and draws its predictions."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image

from ..config.load import load_config
from ..data.labels import read_label
from ..engine.metrics_file import newest_metrics
from ..predictor import Predictor
from ..visualize import colorize, legend, palette, panel_grid
from .train_process import train_command

CONFIG = "quickstart"


def train(processes: int, threads: int, overrides: list[str], *, quiet: bool = False) -> None:
    """Run a training. Its output goes to the terminal; if `quiet`, it is printed only if the training fails.

    Raises:
        ChildProcessError: The training failed.
    """
    command = train_command("--config-file", CONFIG, "--num-gpus", str(processes))
    done = subprocess.run(
        command + overrides,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout or "")
        raise ChildProcessError(f"the training failed, with exit code {done.returncode}")


def seconds_per_iteration(processes: int, threads: int, overrides: list[str]) -> float:
    """Train for a few iterations and return the seconds per iteration."""
    with tempfile.TemporaryDirectory() as folder:
        trial = ["train.max_iter=12", "train.log_period=4", "lr_multiplier.warmup_iter=0", f"train.output_dir={folder}"]
        train(processes, threads, [*overrides, *trial, "dataloader.evaluator=null"], quiet=True)
        return newest_metrics(Path(folder, "metrics.json"))["time"]


def choose_layout(overrides: list[str]) -> tuple[int, int]:
    """Measure which layout trains fastest on this machine's cores, and return its numbers of processes and threads.

    One process with a thread per core is compared with several processes, which have at most as many in total.
    """
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        return 1, 1
    layouts = [(1, cores), (min(cores, 8), max(1, cores // 8))]
    times = {layout: seconds_per_iteration(*layout, overrides) for layout in layouts}
    for (processes, threads), seconds in times.items():
        print(f"{processes} process(es) with {threads} thread(s): {seconds:.3f} s per iteration", flush=True)
    return min(times, key=times.__getitem__)


def draw(output_dir: Path) -> Path:
    """Draw some validation images, their labels and their predictions side by side; return the path of the picture."""
    predictor = Predictor(str(output_dir / "config.yaml"), str(output_dir / "model_final.pth"))
    colors = palette(predictor.metadata)
    rows = []
    for record in DatasetCatalog.get(predictor.metadata.name)[:6]:
        image = predictor.reader.read_picture(record["file_name"])
        label, prediction = read_label(record["sem_seg_file_name"]), cast(np.ndarray, predictor(record["file_name"]))
        rows.append([image, colorize(label, colors), colorize(prediction, colors)])
    grid = panel_grid(rows, titles=["image", "label", "prediction"])
    names = legend(predictor.metadata.stuff_classes, colors, width=grid.shape[1])
    path = output_dir / "predictions.png"
    Image.fromarray(np.concatenate([grid, names])).save(path)
    return path


def main(args: argparse.Namespace) -> None:
    """Train, evaluate and draw, with the overrides of the config in `args.overrides`."""
    config = load_config(CONFIG, args.overrides)
    output_dir = Path(config.train.output_dir)
    DatasetCatalog.get(config.dataset.train)  # generates the images here once instead of in every process
    processes, threads = choose_layout(args.overrides)
    train(processes, threads, ["train.overwrite=true", *args.overrides])
    path = draw(output_dir)
    print(f"\nIoU of every class: {output_dir / 'inference' / 'sem_seg_per_class.csv'}")
    print(f"Images, labels and predictions side by side: {path}")
    print(f"mIoU: {newest_metrics(output_dir / 'metrics.json')['sem_seg/mIoU']:.1f}")
