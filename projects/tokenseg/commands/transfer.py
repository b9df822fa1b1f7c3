"""The body of the command `transfer`, which trains detectors from scratch and from a segmentation model's backbone."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog
from PIL import Image

from ..config.load import load_config
from ..config.shipped import CONFIGS
from ..data.images import read_image
from ..datasets.ground_truth import GroundTruth
from ..predictor import Predictor
from ..tables.markdown import run_metrics
from ..tables.table_file import TableRun, chosen_rows, read_table_file
from ..visualize import palette, panel_grid
from ..visualize_instances import draw_instances
from .make_table import make_runs

TABLE = CONFIGS / "tables/transfer.yaml"
# The rows of the table that are made, by their titles in the output.
ROWS = {"SGR-pretrained": "sgr", "from scratch": "scratch"}
SEED = 0
# The number of validation images in the picture, and the lowest score of instances drawn in it.
IMAGES, SCORE = 5, 0.5


def draw(runs: Mapping[str, TableRun], path: Path) -> None:
    """Draw the annotations of some validation images next to the predictions of each detector.

    Args:
        runs: The finished runs, by their titles.
        path: The path of the picture to write.
    """
    predictors = {
        title: Predictor(str(run.folder / "config.yaml"), str(run.folder / "model_final.pth"))
        for title, run in runs.items()
    }
    first = next(iter(predictors.values()))
    truth, names, colors = (
        GroundTruth.of_dataset(first.metadata.name),
        first.class_names,
        palette(first.metadata, kind="thing"),
    )
    rows = []
    for record in DatasetCatalog.get(first.metadata.name)[:IMAGES]:
        image = read_image(record["file_name"])
        known = truth.instances(record, image.shape[:2])
        places = [names.index(name) for name in known.names]
        panels = [
            draw_instances(image, boxes=known.boxes, masks=known.masks, labels=known.names, colors=colors[places])
        ]
        for predictor in predictors.values():
            found: Any = predictor.instances(image, confidence_threshold=SCORE)
            classes = found.pred_classes.numpy()
            labels = [f"{names[place]} {score:.2f}" for place, score in zip(classes, found.scores, strict=True)]
            boxes, masks = found.pred_boxes.tensor.numpy(), found.pred_masks.numpy()
            panels.append(draw_instances(image, boxes=boxes, masks=masks, labels=labels, colors=colors[classes]))
        rows.append(panels)
    Image.fromarray(panel_grid(rows, titles=["ground truth", *predictors], side=400)).save(path)


def main(args: argparse.Namespace) -> None:
    """Pretrain, export, fine-tune and draw, with the overrides in `args.overrides` for all configs.

    Raises:
        ChildProcessError: A training failed.
    """
    file = read_table_file(TABLE)
    file = chosen_rows(replace(file, output=args.output or file.output), list(ROWS.values()), [SEED])
    for row in file.rows.values():  # generates the images here once instead of in every process
        DatasetCatalog.get(load_config(str(row.config), args.overrides).dataset.train)
    queue = make_runs(file, overrides=args.overrides, jobs=min(2, len(os.sched_getaffinity(0))))
    if queue.failed:
        raise ChildProcessError(f"{len(queue.failed)} trainings failed: {'; '.join(queue.failed.values())}")
    runs = {title: next(run for run in queue.runs if run.row.name == name) for title, name in ROWS.items()}
    table = next(table for table in file.tables if {*ROWS.values()} <= {row.name for row in table.rows})
    path = file.output / "transfer.png"
    draw(runs, path)
    print(f"\nAnnotated and detected instances side by side: {path}")
    for title, run in runs.items():
        values = run_metrics(table, run).items()
        print(f"{title:<16}{'  '.join(f'{name}: {value:.1f}' for name, value in values)}")
