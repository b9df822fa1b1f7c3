"""The body of the command `report`, which shows runs on one HTML page."""

import argparse
import os
from collections.abc import Sequence

from tqdm import tqdm

from ..datasets.ground_truth import GroundTruth
from ..hub import weights_in
from ..predictor import Predictor
from ..report.drawings import extreme_images, image_row, instance_row, records_of, spread_records, token_row
from ..report.page import PictureRow, render_page
from ..report.runs import ReportedRun, read_run, run_names
from ..visualize import palette
from .analyze_model import analyze, default_size


def measure_cost(run: ReportedRun) -> None:
    """Count the parameters and operations of a run's model at its input size, if its config determines one."""
    try:
        size = default_size(run.config)
    except ValueError:  # the test images are not resized, so that there is no single size
        return
    counts = analyze(run.config, size)
    run.cost["parameters in millions"] = f"{counts['params_m']:.2f}"
    run.cost["GFLOPs at {} x {}".format(*counts["size"])] = f"{counts['gflops_fvcore']:.2f}"


def draw_images(
    runs: Sequence[ReportedRun], predictors: Sequence[Predictor], number: int
) -> tuple[list[PictureRow], list[dict]]:
    """Draw images with the predictions of all runs.

    For semantic segmentation, these are the best and the worst images of the first run; for detection, they are evenly
    spread over the data set.

    Args:
        runs: The runs.
        predictors: The predictor of each run.
        number: The number of best images, and the number of worst images.

    Returns:
        The rows of pictures, and the records of the images.

    Raises:
        ValueError: The runs have different tasks, the first run has no results for single images, or its data set is
            another one.
    """
    tasks = {predictor.task for predictor in predictors}
    if len(tasks) > 1:
        raise ValueError("some runs are semantic segmentation and some detection; wanted runs of one task for images")
    named = [(run.name, predictor) for run, predictor in zip(runs, predictors, strict=True)]
    dataset = predictors[0].metadata.name
    if tasks == {"instances"}:
        truth = GroundTruth.of_dataset(dataset)
        records = spread_records(truth, 2 * number)
        return [
            PictureRow(os.path.basename(record["file_name"]), instance_row(record, truth, named), wide=True)
            for record in tqdm(records, unit="image", disable=None)
        ], records
    if runs[0].counts is None:
        raise ValueError(f"{runs[0].name} has no results for single images; an evaluation (--eval-only) writes them")
    best, worst = extreme_images(runs[0].counts, number)
    records = records_of(dataset, [*best, *worst])
    titles = [f"best, {place}" for place in range(1, len(best) + 1)]
    titles += [f"worst, {place}" for place in range(1, len(worst) + 1)]
    rows = [
        PictureRow(title, image_row(record, named))
        for title, record in zip(tqdm(titles, unit="image", disable=None), records, strict=True)
    ]
    return rows, records


def draw_tokens(
    runs: Sequence[ReportedRun], predictors: Sequence[Predictor], records: Sequence[dict], class_name: str
) -> list[PictureRow]:
    """Draw the token maps of a class for every run and image of a report.

    Raises:
        ValueError: There is no such class, or a model has no maps of its classes.
    """
    if predictors[0].task == "instances":
        raise ValueError(f"--class is for semantic segmentation; {runs[0].name} predicts instances")
    classes = predictors[0].class_names
    if class_name not in classes:
        raise ValueError(f"--class is '{class_name}'; wanted one of {', '.join(classes)}")
    return [
        PictureRow(f"{class_name}, {run.name}", token_row(record, predictor, classes.index(class_name)))
        for record in records
        for run, predictor in zip(runs, predictors, strict=True)
    ]


def legend_of(predictor: Predictor) -> list[tuple[str, str]]:
    """Return the name of every class of a model, and its colour in CSS."""
    kind = "stuff" if predictor.task == "sem_seg" else "thing"
    colors = palette(predictor.metadata, kind=kind).tolist()
    return [*zip(predictor.class_names, map("rgb({0[0]} {0[1]} {0[2]})".format, colors), strict=True)]


def main(args: argparse.Namespace) -> None:
    """Write the page of the runs `args.runs` to `args.output`."""
    names = run_names(args.runs)
    runs = [
        read_run(folder, name=name, trust_config=args.trust_config)
        for folder, name in zip(args.runs, names, strict=True)
    ]
    images: list = []
    tokens, legend, notes = [], [], []
    if not args.no_models:
        try:
            for run in runs:
                measure_cost(run)
            predictors = [
                Predictor(run.config, weights_in(run.folder), overrides=[f"train.device={args.device}"]) for run in runs
            ]
            images, records = draw_images(runs, predictors, args.images)
            legend = legend_of(predictors[0])
            if args.class_name:
                tokens = draw_tokens(runs, predictors, records, args.class_name)
        except (ValueError, OSError) as error:
            notes.append(f"Some of this page is missing: {error}.")
            print(notes[-1])
    title = " and ".join(names)
    args.output.write_text(
        render_page(runs, title=title, images=images, tokens=tokens, legend=legend, notes=notes), encoding="utf-8"
    )
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB; open it in a browser")
