"""The body of the command `demo`, which shows a model's predictions for any images."""

import argparse
import glob
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data.catalog import Metadata
from PIL import Image
from tqdm import tqdm

from ..contracts import Predicts
from ..data.bands import NUMPY_SUFFIXES
from ..data.labels import read_class_ids
from ..datasets.ground_truth import GroundTruth
from ..datasets.stored_ids import smallest, to_submission
from ..deployment.exported_predictor import ExportedPredictor
from ..plain_text import plot_text
from ..predictor import Predictor
from ..video import VideoSource, check_suffix
from ..visualize import captioned, palette, stack_rows
from ..visualize_instances import draw_annotated, draw_found
from .demo_video import FramePainter, write_video
from .demo_web import check_gradio, serve

SUFFIXES = (*sorted(Image.registered_extensions()), *NUMPY_SUFFIXES)
# The kind of output for a benchmark's server, which is also the name of its folder.
SUBMISSION = "submission"
# By default, instances with at least this score are drawn.
CONFIDENCE = 0.5


def find_images(inputs: list[str]) -> list[Path]:
    """Find the images of all inputs, without duplicates.

    Args:
        inputs: Paths of files, paths of folders, of which all images are taken, or glob patterns.

    Raises:
        ValueError: An input is none of these, or there are no images.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True) if os.path.isfile(p))
            if not matches:
                raise ValueError(f"--input '{name}' is neither a file nor a folder, and as a glob it matches nothing")
            found += matches
    if not found:
        raise ValueError(f"no images in {', '.join(inputs)}; wanted files that end in .jpg, .png, .tif or similar")
    return list(dict.fromkeys(found))


def output_names(images: list[Path]) -> dict[Path, str]:
    """Name the output of each image after its stem, preceded by as many folder names as make the names unique."""
    names = {path: path.stem for path in images}
    for depth in range(1, max(len(path.resolve().parts) for path in images)):
        clashing = [path for path in images if list(names.values()).count(names[path]) > 1]
        if not clashing:
            break
        for path in clashing:
            names[path] = "_".join([*path.resolve().parts[-1 - depth : -1], path.name.replace(".", "_")])
    return names


def find_truth(annotations: str | None, images: list[Path], predictor: Predicts, *, key: str) -> GroundTruth | None:
    """Find the ground truth of the images.

    Args:
        annotations: The path of a file in COCO's format, an empty string for the test data of the config, or None for
            no ground truth.
        images: The paths of the images.
        predictor: The predictor, which knows the test data of its config.
        key: The key of the ground truth in the records of the test data.

    Raises:
        ValueError: The file or the data set cannot be read, or it has no ground truth of any of the images.
    """
    if annotations is None:
        return None
    name = predictor.metadata.name
    truth = GroundTruth.of_file(annotations) if annotations else GroundTruth.of_dataset(name, key=key)
    if not any(truth.record(path) for path in images):
        raise ValueError(
            f"{truth.source} has ground truth of none of the {len(images)} images, such as {images[0]}; wanted images "
            "of this data set"
        )
    return truth


def side_by_side(truth: np.ndarray | None, predicted: np.ndarray, *, titles: tuple[str, str]) -> np.ndarray:
    """Join two pictures (h, w, 3) side by side with titles above; without `truth`, return `predicted` unchanged."""
    if truth is None:
        return predicted
    side = max(predicted.shape[:2])
    return stack_rows(
        [[captioned(panel, title, side=side) for panel, title in zip((truth, predicted), titles, strict=True)]]
    )


def threshold(args: argparse.Namespace, predictor: Predicts) -> float:
    """Return the lowest score of instances to draw.

    Raises:
        ValueError: The arguments set it for a segmentor, which has no instances.
    """
    if predictor.task == "sem_seg" and args.confidence_threshold is not None:
        raise ValueError(f"--confidence-threshold is for detectors; the model is a {predictor.model_name}")
    return CONFIDENCE if args.confidence_threshold is None else args.confidence_threshold


class SegmentOutput:
    """Writes the class ids of images, in all kinds of output that the arguments list."""

    def __init__(self, args: argparse.Namespace, images: list[Path], predictor: Predicts) -> None:
        """
        Args:
            args: The arguments of the command.
            images: The paths of the images.
            predictor: The predictor of a segmentor or of an exported one.

        Raises:
            ValueError: The arguments contain options for detectors, or the ground truth of another data set.
        """
        threshold(args, predictor)
        if args.annotations:
            raise ValueError(f"--annotations FILE is for detectors; the model is a {predictor.model_name}")
        self._kinds, self._predictor, self._windows = args.save, predictor, args.windows
        self._truth = find_truth(args.annotations, images, predictor, key="sem_seg_file_name")

    def write(self, path: Path, output: Path, image: np.ndarray | None) -> None:
        """Write all outputs of one image.

        Args:
            path: The path of the image.
            output: The path of the output, without its suffix.
            image: The image (h, w, 3) uint8 RGB; None if it is read window by window.
        """
        # If the model needs more than RGB, such as further bands, the file is read again.
        if self._windows is None:
            ids = self._predictor.class_ids(path if image is None or not self._predictor.reader.is_plain else image)
        else:
            ids = self._predictor.raster_ids(path, window=self._windows or None)
        label = None if image is None else self._label(path, image)
        for kind in self._kinds:
            picture = Image.fromarray(self._overlay(image, ids, label) if kind == "overlay" else self._map(kind, ids))
            if kind == "palette":
                picture.putpalette(palette(self._predictor.metadata).flatten().tolist())
            file = f"{output}_{kind}.png" if kind != SUBMISSION else output.parent / SUBMISSION / f"{output.name}.png"
            Path(file).parent.mkdir(exist_ok=True)
            picture.save(file)

    def _map(self, kind: str, ids: np.ndarray) -> np.ndarray:
        """Convert class ids to the pixels of a PNG of this kind."""
        if kind == SUBMISSION:
            return to_submission(ids, self._predictor.metadata)
        return self._predictor.stored(ids) if kind == "stored" else smallest(ids)

    def _label(self, path: Path, image: np.ndarray) -> np.ndarray | None:
        """Return the true class of each pixel, or None if it is not known."""
        record = self._truth.record(path) if self._truth else None
        if record is None:
            return None
        label, file = read_class_ids(record), record["sem_seg_file_name"]
        if label.shape != image.shape[:2]:
            raise ValueError(
                f"label file {file} has the size {label.shape}; wanted the size of the image, {image.shape[:2]}"
            )
        return label

    def _overlay(self, image: np.ndarray | None, ids: np.ndarray, label: np.ndarray | None) -> np.ndarray:
        from detectron2.utils.visualizer import Visualizer  # here, since it imports matplotlib, which takes 0.5 s

        names = [plot_text(name) for name in self._predictor.class_names]
        metadata = Metadata(**self._predictor.metadata.as_dict() | {"stuff_classes": names})
        truth, predicted = (
            None if classes is None else Visualizer(image, metadata).draw_sem_seg(torch.from_numpy(classes)).get_image()
            for classes in (label, ids)
        )
        assert predicted is not None  # for the type checker: `ids` is never None
        return side_by_side(truth, predicted, titles=("ground truth", "prediction"))

    def summary(self) -> str:
        """Describe what was done to the images."""
        return "segmented"


class InstanceOutput:
    """Draws the predicted instances of images, next to the annotated ones if they are given."""

    def __init__(self, args: argparse.Namespace, images: list[Path], predictor: Predicts) -> None:
        """
        Args:
            args: The arguments of the command.
            images: The paths of the images.
            predictor: The predictor of a detector.

        Raises:
            ValueError: The arguments contain options for segmentors, or the annotations of other images.
        """
        if args.windows is not None:
            raise ValueError(f"--windows is for semantic segmentation; the model is a {predictor.model_name}")
        if args.save != ["overlay"]:
            kinds = ",".join(args.save)
            raise ValueError(f"--save is {kinds}, but {predictor.model_name} predicts no class ids; wanted overlay")
        self._predictor = predictor
        self._truth = find_truth(args.annotations, images, predictor, key="annotations")
        self._threshold = threshold(args, predictor)
        # The order matters: reading `class_names` fills the metadata, from which `palette` gets the number of classes.
        names = predictor.class_names
        self._classes: dict[str, Any] = {"names": names, "colors": palette(predictor.metadata, kind="thing")}
        self._count = 0

    def write(self, path: Path, output: Path, image: np.ndarray) -> None:
        """Draw the picture of one image; the arguments are those of `SegmentOutput.write`."""
        found = self._predictor.instances(image, confidence_threshold=self._threshold)
        self._count += len(found)
        truth = None
        if self._truth is not None and (record := self._truth.record(path)) is not None:
            truth = draw_annotated(image, self._truth.instances(record, image.shape[:2]), **self._classes)
        titles = "ground truth", f"prediction, scores of {self._threshold:g} or more"
        picture = side_by_side(truth, draw_found(image, found, **self._classes), titles=titles)
        Image.fromarray(picture).save(f"{output}_overlay.png")

    def summary(self) -> str:
        """Describe what was found in the images."""
        return f"with {self._count} instances of score {self._threshold:g} or more"


def write_images(args: argparse.Namespace, predictor: Predicts, images: list[Path]) -> None:
    """Write the outputs that `args.save` lists for every image.

    Raises:
        ValueError: The arguments do not fit the model, or some images cannot be read. In the latter case the outputs of
            all other images are written first.
    """
    output: Any = (SegmentOutput if predictor.task == "sem_seg" else InstanceOutput)(args, images, predictor)
    args.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for path, name in tqdm(output_names(images).items(), unit="image", disable=None):
        try:
            image = None if args.windows is not None else predictor.reader.read_picture(str(path))
        except ValueError as error:
            failed.append(str(error))
            continue
        output.write(path, args.output / name, image)
    done = f"{len(images) - len(failed)} images {output.summary()}"
    print(f"{done}; {', '.join(args.save)} written to {args.output}")
    if failed:
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise ValueError(f"{len(failed)} of {len(images)} images could not be read: {'; '.join(failed[:3])}{more}")


def main(args: argparse.Namespace) -> None:
    """Write the pictures of images, write a video, or serve the page, depending on `args`."""
    images = find_images(args.input) if args.input else []
    if args.video is not None:
        check_suffix(args.output)
        source = VideoSource(args.video)
    if args.web:
        check_gradio()
    predictor: Any  # an ExportedPredictor or a Predictor
    if args.exported:
        predictor = ExportedPredictor(args.weights)
    else:
        predictor = Predictor(args.config_file, args.weights, overrides=args.overrides, trust_config=args.trust_config)
    if args.video is not None:
        write_video(source, args.output, FramePainter(predictor, confidence_threshold=threshold(args, predictor)))
    elif args.web:
        serve(predictor, confidence_threshold=threshold(args, predictor), host=args.host, port=args.port)
    else:
        write_images(args, predictor, images)
