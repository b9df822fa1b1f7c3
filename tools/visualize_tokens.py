#!/usr/bin/env python
"""What the tokens of trained models see: the maps of chosen classes, stage by stage.

    tools/visualize_tokens.py --config-file C ... --weights W ... --input IMAGE --output PNG
                              [--classes a,b] [--label LABEL] [--regions N] [key=value ...]

A row for every class and model: the image, the model's stages from left to right, and what it segments as that class;
with a label map, the class's outline and its IoU in this image. Each map has its own scale, from dark blue (lowest) to
yellow. Classes are names or ids; without --classes they are the three largest of the label map or the prediction. The
image runs through the model as a whole, resized as in the evaluation of its config.

With --regions, a row for every model instead: the image, and the N regions of its tokens that have the largest part of
all regions' weight in it, each lit up over the image, with its number and that part. It is for models whose tokens have
regions, such as SGR's and GloRe's.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import detection_utils as utils
from PIL import Image

from tokenseg import Predictor
from tokenseg.config.overrides import split_overrides
from tokenseg.data.labels import read_label
from tokenseg.visualize import captioned, draw_outline, heat_map, spotlight, stack_rows

SIDE = 160


def choose_classes(words: str | None, names: Sequence[str], ids: np.ndarray) -> list[int]:
    """Ids of the classes named, or of the three largest of a label map.

    Raises:
        ValueError: a class that the data set does not have.
    """
    if words is None:
        counts = np.bincount(ids[(ids >= 0) & (ids < len(names))].ravel(), minlength=len(names))
        return [int(k) for k in np.argsort(-counts)[:3] if counts[k]]
    chosen = []
    for word in words.split(","):
        if word in names:
            chosen.append(names.index(word))
        elif word.isdigit() and int(word) < len(names):
            chosen.append(int(word))
        else:
            near = difflib.get_close_matches(word, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"wanted one of {', '.join(names)}"
            raise ValueError(f"--classes has '{word}'; {hint}")
    return chosen


def iou(prediction: np.ndarray, label: np.ndarray, ignored: np.ndarray) -> float:
    """Of two masks, over the pixels that are not ignored; NaN where both are empty."""
    union = ((prediction | label) & ~ignored).sum()
    return (prediction & label & ~ignored).sum() / union if union else float("nan")


def draw_row(image: np.ndarray, name: str, maps: dict[str, np.ndarray], masks: tuple, score: str) -> list[np.ndarray]:
    """Panels of one class of one model.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: of model and class.
        maps: title -> (h, w).
        masks: what is outlined in the first panel and shown in the last, (H, W) each.
        score: caption of the last panel.
    """
    known, predicted = masks
    shown = np.where(predicted[:, :, None], image, image // 5)
    stages = [captioned(heat_map(values), title, side=SIDE) for title, values in maps.items()]
    return [captioned(draw_outline(image, known), name, side=SIDE), *stages, captioned(shown, score, side=SIDE)]


def draw_regions(image: np.ndarray, name: str, regions: np.ndarray, count: int) -> list[np.ndarray]:
    """Panels of one model's regions, those with the largest mass first.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: of the model.
        regions: (K, h, w) weights of 0 or more.
        count: how many are drawn.
    """
    mass = regions.sum(axis=(1, 2))
    parts = 100 * mass / max(mass.sum(), 1e-12)
    chosen = np.argsort(-mass, kind="stable")[:count]
    lit = [captioned(spotlight(image, regions[k]), f"{k}: {parts[k]:.1f} %", side=SIDE) for k in chosen]
    return [captioned(image, name, side=SIDE), *lit]


def read_inputs(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray | None]:
    """The image and, if there is one, its label map.

    Raises:
        ValueError: a file that cannot be read, or sizes that differ.
    """
    try:
        image = utils.read_image(args.input, format="RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"--input {args.input} cannot be read: {error}") from error
    if args.label is None:
        return image, None
    label = read_label(args.label)
    if label.shape != image.shape[:2]:
        raise ValueError(f"--label has {label.shape[0]}x{label.shape[1]} pixels; wanted the image's, {image.shape[:2]}")
    return image, label


def draw_classes(
    args: argparse.Namespace,
    image: np.ndarray,
    label: np.ndarray | None,
    predictors: Sequence[Predictor],
    names: Sequence[str],
) -> list[list[np.ndarray]]:
    """A row of panels for every class and model; the predictors and their names go together."""
    predictions = [predictor(image) for predictor in predictors]
    class_names = list(predictors[0].metadata.stuff_classes)
    known = predictions[0] if label is None else label
    classes = choose_classes(args.classes, class_names, known)
    stages = [predictor.token_maps(image, classes) for predictor in predictors]

    rows = []
    for place, class_id in enumerate(classes):
        for name, maps, prediction in zip(names, stages, predictions, strict=True):
            score = "segmented"
            if label is not None:
                ignored = label == predictors[0].metadata.ignore_label
                score = f"IoU {100 * iou(prediction == class_id, label == class_id, ignored):.1f}"
            own = {title: values[place] for title, values in maps.items()}
            masks = (known == class_id, prediction == class_id)
            rows.append(draw_row(image, f"{class_names[class_id]}, {name}", own, masks, score))
    return rows


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config-file", nargs="+", required=True, metavar="C", help="a run leaves its own as config.yaml"
    )
    parser.add_argument("--weights", nargs="+", required=True, metavar="W", help="a checkpoint for every config")
    parser.add_argument(
        "--names", nargs="+", metavar="N", help="what the models are called; default their output folders"
    )
    parser.add_argument("--input", required=True, help="an image file")
    parser.add_argument("--label", help="its label map")
    parser.add_argument("--classes", help="names or ids, joined by commas")
    parser.add_argument("--regions", type=int, metavar="N", help="draw regions of tokens instead of classes")
    parser.add_argument("--output", required=True, type=Path, help="picture to write")
    words, overrides = split_overrides(argv)
    args = parser.parse_args(words)
    names = args.names or [Path(weights).resolve().parent.name for weights in args.weights]
    if not len(args.config_file) == len(args.weights) == len(names):
        raise ValueError(
            f"there are {len(args.config_file)} --config-file, {len(args.weights)} --weights and {len(names)} --names; "
            "wanted one of each for every model"
        )
    if args.regions is not None and (args.regions < 1 or args.classes):
        raise ValueError(f"--regions is {args.regions}; wanted 1 or more, and no --classes with it")
    image, label = read_inputs(args)
    predictors = [Predictor(*pair, overrides=overrides) for pair in zip(args.config_file, args.weights, strict=True)]
    if args.regions is None:
        rows = draw_classes(args, image, label, predictors, names)
    else:
        pairs = zip(names, predictors, strict=True)
        rows = [draw_regions(image, name, predictor.regions(image), args.regions) for name, predictor in pairs]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stack_rows(rows)).save(args.output)
    print(f"{len(rows)} rows drawn in {args.output}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"visualize_tokens.py: error: {error}")
