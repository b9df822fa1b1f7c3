"""An exported model as a function, without config, weights or code of the model."""

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
    """Runs an exported file on single images, with the interface that `Predictor` has for class ids and scores.

    A file for images of any size gets them as a test of its config does, resized to the base size and whole. A file for
    one size gets them as large as fit into it, with the mean colour around. Results have the size of the image.

    Attributes:
        facts: What the file tells.
        metadata: Names and colours of the classes, as Detectron2's metadata.
    """

    def __init__(self, path: str | PathLike, *, allow_pickle: bool = False) -> None:
        """
        Args:
            path: The path of a file that tools/export.py has written.
            allow_pickle: Whether it may be a `.pt2`, which can run any code; `.onnx` cannot.

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
        """What reads image files for this model."""
        return ImageReader(image_format=self.facts.image_format)

    @property
    def class_names(self) -> list[str]:
        """The names of the class ids."""
        return list(self.facts.class_names)

    def __call__(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """The class of each pixel; see `class_ids`."""
        return self.class_ids(image)

    def class_ids(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """The class of each pixel of an image, (H, W) int64.

        Args:
            image: The path of a file, or an (H, W, 3) uint8 array in RGB order.

        Raises:
            ValueError: A file that cannot be read, or an array of another shape or type.
        """
        if self.facts.output_kind == "scores":
            return self.scores(image).max(dim=0).indices.numpy()
        pixels = self._pixels(image)
        ids = torch.from_numpy(self._output(pixels))
        # ids have no values between them: each pixel takes the nearest
        nearest = F.interpolate(ids[None, None].float(), size=pixels.shape[:2], mode="nearest-exact")
        return nearest[0, 0].long().numpy()

    def scores(self, image: str | PathLike | np.ndarray) -> Tensor:
        """The scores (K, H, W) of an image's pixels; see `class_ids`.

        Raises:
            ValueError: As in `class_ids`, or a file that gives ids.
        """
        if self.facts.output_kind != "scores":
            raise ValueError("the file gives class ids; wanted one exported with --output-kind scores")
        pixels = self._pixels(image)
        return resize(torch.from_numpy(self._output(pixels))[None], pixels.shape[:2])[0]

    def instances(self, image: np.ndarray, *, confidence_threshold: float = 0.0) -> Instances:
        """Refuse what an exported segmentor does not give.

        Raises:
            ValueError: Always.
        """
        raise ValueError("an exported model gives class ids and no instances; wanted a detector's config and weights")

    def raster_ids(self, path: str | PathLike, *, window: int | None = None) -> np.ndarray:
        """Refuse what needs the model's own code.

        Raises:
            ValueError: Always.
        """
        raise ValueError("an exported model takes whole images; wanted a config and weights with --windows")

    def stored(self, ids: np.ndarray) -> np.ndarray:
        """Turn class ids into what the label maps store; see `to_stored`."""
        return to_stored(ids, self.metadata)

    def _output(self, pixels: np.ndarray) -> np.ndarray:
        """What the file gives for (H, W, C) pixels, (h, w) or (K, h, w), without what lies around them."""
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
    """(H, W, C) pixels resized, with their aspect ratio, to as large as fits into (height, width)."""
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return T.ResizeTransform(*pixels.shape[:2], rows, columns).apply_image(pixels)


def _batch(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) pixels as a batch (1, C, H, W) of float32."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
