"""Prediction with an exported file, without the model's config, weights or code."""

from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata
from detectron2.structures import Instances
from torch import Tensor
from torch.nn import functional as F

from ..contracts import Task
from ..data.image_reader import ImageReader
from ..data.transforms import ResizeToBase
from ..datasets.stored_ids import to_stored
from ..layers.resize import resize
from .exported_files import open_file


class ExportedPredictor:
    """Runs an exported file on single images, with the interface of `Predictor` for class ids and scores.

    If the file accepts images of any size, images are resized as in the config's evaluation and passed as a whole. If
    it accepts a single size, images are resized to fit into that size and padded with the mean colour. The results
    always have the size of the original image.

    Attributes:
        facts: The facts stored in the file.
        metadata: The names and colours of the classes, as Detectron2's metadata.
    """

    def __init__(self, path: str | PathLike, *, allow_pickle: bool = False) -> None:
        """
        Args:
            path: The path of a file that tools/export.py has written.
            allow_pickle: Whether the file may be a `.pt2`, which can run any code when it is read; a `.onnx` cannot.

        Raises:
            ValueError: There is no such file, or the package that runs it is not installed.
        """
        self._run, self.facts = open_file(Path(path), allow_pickle=allow_pickle)
        self.metadata = Metadata(
            name=str(path), stuff_classes=self.facts.class_names, stuff_colors=self.facts.class_colors
        )

    task: ClassVar[Task] = "sem_seg"
    model_name: ClassVar[str] = "exported model"

    @property
    def reader(self) -> ImageReader:
        """The reader of image files, with the channel order of this model."""
        return ImageReader(image_format=self.facts.image_format)

    @property
    def class_names(self) -> list[str]:
        """The names of the class ids."""
        return list(self.facts.class_names)

    def __call__(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """Predict the class of each pixel; see `class_ids`."""
        return self.class_ids(image)

    def class_ids(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """Predict the class ids (H, W) int64 of an image's pixels.

        Args:
            image: The path of an image file, or an array (H, W, 3) uint8 in RGB order.

        Raises:
            ValueError: The file cannot be read, or the array has another shape or type.
        """
        if self.facts.output_kind == "scores":
            return self.scores(image).max(dim=0).indices.numpy()
        pixels = self._pixels(image)
        ids = torch.from_numpy(self._output(pixels))
        # Ids cannot be interpolated, so each pixel takes the nearest one.
        nearest = F.interpolate(ids[None, None].float(), size=pixels.shape[:2], mode="nearest-exact")
        return nearest[0, 0].long().numpy()

    def scores(self, image: str | PathLike | np.ndarray) -> Tensor:
        """Predict the scores (K, H, W) of an image's pixels; see `class_ids`.

        Raises:
            ValueError: As in `class_ids`, or the file outputs class ids.
        """
        if self.facts.output_kind != "scores":
            raise ValueError("the file outputs class ids; wanted a file exported with --output-kind scores")
        pixels = self._pixels(image)
        return resize(torch.from_numpy(self._output(pixels))[None], pixels.shape[:2])[0]

    def instances(self, image: np.ndarray, *, confidence_threshold: float = 0.0) -> Instances:
        """Raise a ValueError, since an exported segmentor does not predict instances."""
        raise ValueError("an exported model predicts class ids, not instances; wanted a detector's config and weights")

    def raster_ids(self, path: str | PathLike, *, window: int | None = None) -> np.ndarray:
        """Raise a ValueError, since reading an image window by window needs the model's own code."""
        raise ValueError("an exported model takes whole images; wanted a config and weights with --windows")

    def stored(self, ids: np.ndarray) -> np.ndarray:
        """Convert class ids to the values that the label maps store; see `to_stored`."""
        return to_stored(ids, self.metadata)

    def _output(self, pixels: np.ndarray) -> np.ndarray:
        """Run the file on pixels (H, W, C) and return its output (h, w) or (K, h, w), without the padding."""
        if self.facts.size is None:
            return self._run(_batch(self._at_base_size(pixels)))[0]
        height, width = self.facts.size
        inside = _largest_inside(pixels, height, width)
        around = np.empty((height, width, pixels.shape[2]), dtype=np.float32)
        around[:] = self.facts.pixel_mean
        around[: inside.shape[0], : inside.shape[1]] = inside
        return self._run(_batch(around))[0][..., : inside.shape[0], : inside.shape[1]]

    def _at_base_size(self, pixels: np.ndarray) -> np.ndarray:
        if self.facts.short_side is None:
            return pixels
        base = ResizeToBase(short=self.facts.short_side, long=self.facts.long_side)
        return base.get_transform(pixels).apply_image(pixels)

    def _pixels(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        return self.reader.from_array(image) if isinstance(image, np.ndarray) else self.reader(str(image))


def _largest_inside(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize pixels (H, W, C) to the largest size with the same aspect ratio that fits into (height, width)."""
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return T.ResizeTransform(*pixels.shape[:2], rows, columns).apply_image(pixels)


def _batch(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels (H, W, C) to a batch (1, C, H, W) float32."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
