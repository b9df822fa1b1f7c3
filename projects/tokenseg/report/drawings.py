"""The pictures of a report: the best and the worst images with their errors, instances, and the maps of tokens."""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image

from ..data.labels import read_class_ids
from ..datasets.ground_truth import GroundTruth
from ..evaluation.image_counts import ImageCounts, class_ious, mean_of_classes
from ..evaluation.sem_seg import confusion_matrix
from ..inspection import tokens_on
from ..predictor import Predictor
from ..visualize import colorize, error_map, heat_map, palette
from ..visualize_instances import draw_annotated, draw_found

# The maximum side of a picture in pixels, and the JPEG quality of photographs.
SIDE, _QUALITY = 360, 82
# The maximum side of a picture with instances, whose names must be legible, and the minimum score of instances.
_NAMED_SIDE, CONFIDENCE = 640, 0.5


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        caption: The text below the picture.
        data: The encoded picture as a data URI.
    """

    caption: str
    data: str


def data_uri(pixels: np.ndarray, *, photograph: bool, side: int = SIDE) -> str:
    """Encode a picture as a data URI.

    Args:
        pixels: The picture (H, W, 3) uint8 RGB.
        photograph: Whether to write JPEG and resize smoothly; otherwise PNG, resized without mixing colours.
        side: The maximum side in pixels, to which larger pictures are reduced.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.BILINEAR if photograph else Image.Resampling.NEAREST)
    stream = io.BytesIO()
    if photograph:
        picture.save(stream, "JPEG", quality=_QUALITY)
    else:
        picture.quantize(256).save(stream, "PNG", optimize=True)
    kind = "jpeg" if photograph else "png"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def extreme_images(counts: ImageCounts, number: int) -> tuple[list[str], list[str]]:
    """Choose the images with the highest and with the lowest mIoU, computed for each image separately.

    Args:
        counts: The pixel counts of an evaluation.
        number: The number of images to choose of each kind.

    Returns:
        The label maps of the best images, the best first, and those of the worst images, the worst first. No image is
        in both lists.
    """
    own = mean_of_classes(class_ious(counts.correct, counts.predicted, counts.labelled))
    order = [place for place in np.argsort(own, kind="stable") if not np.isnan(own[place])]
    number = min(number, len(order) // 2) or min(number, len(order))
    worst = order[:number]
    best = [place for place in reversed(order) if place not in worst][:number]
    return [str(counts.images[place]) for place in best], [str(counts.images[place]) for place in worst]


def records_of(dataset: str, label_maps: Sequence[str]) -> list[dict]:
    """Find the records of label maps in a data set.

    Args:
        dataset: The name of a registered data set.
        label_maps: The paths of the label maps, relative to the common folder of all label maps of the data set.

    Raises:
        ValueError: A label map is not in the data set.
    """
    records = DatasetCatalog.get(dataset)
    folders = [os.path.dirname(record["sem_seg_file_name"]) for record in records]
    shared = os.path.commonpath(folders) if folders else ""
    by_path = {os.path.relpath(record["sem_seg_file_name"], shared or "."): record for record in records}
    missing = [path for path in label_maps if path not in by_path]
    if missing:
        raise ValueError(f"data set '{dataset}' has no label map {missing[0]}; wanted the data set of the evaluation")
    return [by_path[path] for path in label_maps]


def image_row(record: dict, predictors: Sequence[tuple[str, Predictor]]) -> list[Picture]:
    """Draw an image, its label map, and the prediction and the errors of each run.

    Args:
        record: The record of the image.
        predictors: The name and the predictor of each run.
    """
    metadata = predictors[0][1].metadata
    colors, ignored = palette(metadata), metadata.ignore_label
    image, label = predictors[0][1].reader.read_picture(record["file_name"]), read_class_ids(record)
    row = [
        Picture(os.path.basename(record["file_name"]), data_uri(image, photograph=True)),
        Picture("label", data_uri(colorize(label, colors), photograph=False)),
    ]
    for name, predictor in predictors:
        ids = cast(np.ndarray, predictor(record["file_name"]))  # not a list, since this is a single image
        confusion = confusion_matrix(ids, label, num_classes=len(colors), ignore_label=ignored)
        own = mean_of_classes(class_ious(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)))
        row.append(Picture(f"{name}: mIoU {100 * float(own):.1f}", data_uri(colorize(ids, colors), photograph=False)))
        row.append(Picture(f"{name}: errors", data_uri(error_map(ids, label, ignored), photograph=False)))
    return row


def spread_records(truth: GroundTruth, number: int) -> list[dict]:
    """Choose a number of annotated records, spread evenly over the data set."""
    places = np.linspace(0, len(truth.records) - 1, min(number, len(truth.records)))
    return [truth.records[int(place)] for place in places.round()]


def instance_row(record: dict, truth: GroundTruth, predictors: Sequence[tuple[str, Predictor]]) -> list[Picture]:
    """Draw the annotated instances of an image, and those that each run predicts.

    Args:
        record: The record of the image.
        truth: The ground truth that contains the record.
        predictors: The name and the predictor of each run.
    """
    first = predictors[0][1]
    image, classes = first.reader.read_picture(record["file_name"]), _classes_of(first)
    known = truth.instances(record, image.shape[:2])
    row = [_named_picture(f"annotated: {len(known.names)}", draw_annotated(image, known, **classes))]
    for name, predictor in predictors:
        found = predictor.instances(image, confidence_threshold=CONFIDENCE)
        caption = f"{name}: {len(found)} with a score of {CONFIDENCE:g} or more"
        row.append(_named_picture(caption, draw_found(image, found, **_classes_of(predictor))))
    return row


def _classes_of(predictor: Predictor) -> dict:
    """Return the names and the colours of a detector's classes, as arguments of the drawing functions."""
    return {"names": predictor.class_names, "colors": palette(predictor.metadata, kind="thing")}


def _named_picture(caption: str, pixels: np.ndarray) -> Picture:
    return Picture(caption, data_uri(pixels, photograph=True, side=_NAMED_SIDE))


def token_row(record: dict, predictor: Predictor, class_id: int) -> list[Picture]:
    """Draw the maps of a class in an image at every stage of a model, or else the regions of its tokens.

    Args:
        record: The record of the image.
        predictor: The predictor of the model.
        class_id: The id of the class.

    Raises:
        ValueError: The model has neither maps of stages nor regions.
    """
    image = predictor.reader.read_picture(record["file_name"])
    row = [Picture(os.path.basename(record["file_name"]), data_uri(image, photograph=True))]
    try:
        stages = {title: maps[0] for title, maps in predictor.token_maps(record["file_name"], [class_id]).items()}
    except ValueError:
        label = read_class_ids(record)
        stages = _regions_on(predictor.regions(record["file_name"]), label == class_id)
    return row + [Picture(title, data_uri(heat_map(values), photograph=True)) for title, values in stages.items()]


def _regions_on(regions: np.ndarray, mask: np.ndarray, count: int = 4) -> dict[str, np.ndarray]:
    """Choose the regions (Q, h, w) with the largest share of their weight on a mask (H, W); returns them by title."""
    inside = tokens_on(regions, mask)
    order = np.argsort(inside)[::-1][:count]
    return {f"token {place}: {100 * inside[place]:.0f} % on the class": regions[place] for place in order}
