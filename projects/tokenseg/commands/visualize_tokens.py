"""The body of the command `visualize_tokens`, which draws the maps and regions of trained models' tokens."""

import argparse
import difflib
from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image

from ..data.image_reader import ImageReader
from ..data.labels import read_label
from ..predictor import Predictor
from ..visualize import captioned, colorize, draw_outline, heat_map, palette, spotlight, stack_rows

SIDE = 160


def choose_classes(words: str | None, names: Sequence[str], ids: np.ndarray) -> list[int]:
    """Return the ids of the chosen classes.

    Args:
        words: The names or ids of the classes, joined by commas; None for the three largest classes of `ids`.
        names: The names of all classes.
        ids: The class id of each pixel.

    Raises:
        ValueError: The data set has no such class.
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
    """Compute the intersection over union of two masks, over the pixels that are not ignored; NaN if both are empty."""
    union = ((prediction | label) & ~ignored).sum()
    return (prediction & label & ~ignored).sum() / union if union else float("nan")


def draw_row(image: np.ndarray, name: str, maps: dict[str, np.ndarray], masks: tuple, score: str) -> list[np.ndarray]:
    """Draw the panels of one class of one model.

    Args:
        image: The image (h, w, 3) uint8 RGB.
        name: The caption of the first panel, which names class and model.
        maps: The map (H, W) of each stage of the model, by title.
        masks: The mask that is outlined in the first panel, and the mask that is shown in the last one, (h, w) each.
        score: The caption of the last panel.
    """
    known, predicted = masks
    shown = np.where(predicted[:, :, None], image, image // 5)
    stages = [captioned(heat_map(values), title, side=SIDE) for title, values in maps.items()]
    return [captioned(draw_outline(image, known), name, side=SIDE), *stages, captioned(shown, score, side=SIDE)]


def draw_regions(image: np.ndarray, name: str, regions: np.ndarray, count: int) -> list[np.ndarray]:
    """Draw the panels of one model's regions, those with the largest total weight first.

    Args:
        image: The image (h, w, 3) uint8 RGB.
        name: The name of the model.
        regions: The weights (K, H, W) of each token's region, non-negative.
        count: The number of regions to draw.
    """
    mass = regions.sum(axis=(1, 2))
    parts = 100 * mass / max(mass.sum(), 1e-12)
    chosen = np.argsort(-mass, kind="stable")[:count]
    lit = [captioned(spotlight(image, regions[k]), f"{k}: {parts[k]:.1f} %", side=SIDE) for k in chosen]
    return [captioned(image, name, side=SIDE), *lit]


def predict_all(args: argparse.Namespace, predictors: Sequence[Predictor]) -> list[np.ndarray]:
    """Predict the class ids (h, w) of the image by every model.

    Args:
        args: The arguments of the command.
        predictors: The predictors, in the order of `args.names`.

    Raises:
        ValueError: A model is not a segmentor.
    """
    for name, predictor in zip(args.names, predictors, strict=True):
        if predictor.task != "sem_seg":
            raise ValueError(
                f"{name} is a {predictor.model_name}, which has no class maps; wanted a Segmentor or, for a detector "
                "with tokens in its backbone, --regions N without --prediction (tools/demo.py draws boxes and masks)"
            )
    return [cast(np.ndarray, predictor.class_ids(args.input)) for predictor in predictors]


def read_inputs(args: argparse.Namespace, reader: ImageReader) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the picture of the image and, if the arguments name one, its label map.

    Args:
        args: The arguments of the command.
        reader: The reader of a model's images.

    Raises:
        ValueError: A file cannot be read, or the sizes differ.
    """
    image = reader.read_picture(args.input)
    if args.label is None:
        return image, None
    label = read_label(args.label)
    if label.shape != image.shape[:2]:
        raise ValueError(
            f"--label has {label.shape[0]}x{label.shape[1]} pixels; wanted the size of the image, "
            f"{image.shape[0]}x{image.shape[1]}"
        )
    return image, label


def draw_classes(
    args: argparse.Namespace,
    image: np.ndarray,
    label: np.ndarray | None,
    predictors: Sequence[Predictor],
    predictions: Sequence[np.ndarray],
) -> list[list[np.ndarray]]:
    """Draw a row of panels for every class and model.

    Args:
        args: The arguments of the command.
        image: The image (h, w, 3) uint8 RGB.
        label: The label map (h, w), or None.
        predictors: The predictors, in the order of `args.names`.
        predictions: The class ids (h, w) that they predict.

    Raises:
        ValueError: The data set has no class of a name in `args.classes`.
    """
    class_names = predictors[0].class_names
    known = predictions[0] if label is None else label
    classes = choose_classes(args.classes, class_names, known)
    stages = [predictor.token_maps(args.input, classes) for predictor in predictors]

    rows = []
    for place, class_id in enumerate(classes):
        for name, maps, prediction in zip(args.names, stages, predictions, strict=True):
            score = "segmented"
            if label is not None:
                ignored = label == predictors[0].metadata.ignore_label
                score = f"IoU {100 * iou(prediction == class_id, label == class_id, ignored):.1f}"
            own = {title: values[place] for title, values in maps.items()}
            masks = (known == class_id, prediction == class_id)
            rows.append(draw_row(image, f"{class_names[class_id]}, {name}", own, masks, score))
    return rows


def main(args: argparse.Namespace) -> None:
    """Draw rows of panels for the models of `args` and write them to `args.output`."""
    predictors = [
        Predictor(*pair, overrides=args.overrides, trust_config=args.trust_config)
        for pair in zip(args.config_file, args.weights, strict=True)
    ]
    image, label = read_inputs(args, predictors[0].reader)
    predictions = predict_all(args, predictors) if args.regions is None or args.prediction else []
    if args.regions is None:
        rows = draw_classes(args, image, label, predictors, predictions)
    else:
        pairs = zip(args.names, predictors, strict=True)
        rows = [draw_regions(image, name, predictor.regions(args.input), args.regions) for name, predictor in pairs]
    if args.prediction:
        pairs = zip(predictions, predictors, strict=True)
        colored = [colorize(ids, palette(predictor.metadata)) for ids, predictor in pairs]
        drawn = [captioned(colors, "prediction", side=SIDE) for colors in colored]
        # The rows of a class are consecutive, in the order of the models.
        for place, row in enumerate(rows):
            row.insert(1, drawn[place % len(drawn)])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stack_rows(rows)).save(args.output)
    print(f"{len(rows)} rows drawn in {args.output}")
