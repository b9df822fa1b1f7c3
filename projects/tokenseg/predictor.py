"""A trained model as a function from images to class maps or instances."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, TypeVar, cast

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata
from detectron2.structures import Instances
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from .config.instantiate import instantiate
from .config.load import load_config
from .config.overrides import apply_overrides
from .contracts import Task
from .data.image_reader import ImageReader
from .data.images import pillow_pixels
from .data.rescaling import OriginalImage
from .datasets.records import load_records
from .datasets.stored_ids import to_stored
from .engine.build import build_model
from .engine.checkpoint import Checkpointer
from .engine.devices import resolve_device
from .engine.precision import amp_dtype, autocast
from .inspection import detector_regions, image_regions, stage_maps
from .rasters import raster_ids
from .regions import Regions
from .segmentor import Segmentor

# The types of an image; see `Predictor`.
AnyImage = str | PathLike | Image.Image | np.ndarray | Tensor
_Result = TypeVar("_Result")


class Predictor:
    """Runs a trained model on images, with the preprocessing of its config's evaluation; implements `Predicts`.

        predictor = tokenseg.Predictor("output/quickstart/config.yaml", "output/quickstart/model_best.pth")
        ids = predictor("photo.jpg")                                    # from a segmentor
        instances = predictor("photo.jpg", confidence_threshold=0.5)    # from a detector
        several = predictor(["a.jpg", PIL.Image.open("b.png"), array])  # a list gives a list

    An image is the path of a file, a Pillow image, an (H, W, 3) array or a (3, H, W) tensor; arrays and tensors are
    uint8 in RGB order. A list of images gives the list of their results, the same as for each image alone: only images
    that have the same size as inputs of the model run as one batch.

    Attributes:
        model: The model in evaluation mode, on its device.
        reader: The reader that turns files and arrays into pixels.
        metadata: Detectron2's metadata of the config's test data; see `class_names`.
    """

    def __init__(
        self,
        config: str | PathLike | DictConfig,
        weights: str | PathLike,
        *,
        overrides: Sequence[str] = (),
        trust_config: bool = False,
        batch_size: int = 8,
    ) -> None:
        """
        Args:
            config: The path of a config, such as the config.yaml that a run has written, or a loaded config.
            weights: The path or address of a checkpoint of this model. Every key must fit.
            overrides: Changes of the config, each of the form `key=value`, for instance `train.device=cpu`.
            trust_config: Whether a config.yaml may call anything, such as your own classes, and thus run any code.
            batch_size: The maximum number of images of a list that the model runs at once.

        Raises:
            ValueError: The config or the weights do not exist or do not fit, or the batch size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; wanted a whole number of 1 or more")
        if not str(weights):  # Detectron2 would load nothing, and the model would stay random
            raise ValueError("weights is empty; wanted the checkpoint of a trained model")
        self._batch_size = batch_size
        if not isinstance(config, DictConfig):
            config = load_config(str(config), trust_config=trust_config)
        config = apply_overrides(config.copy(), overrides)
        device = resolve_device(config.train.device)
        self._amp_dtype = amp_dtype(config.train.amp, device)
        self.model: Any = build_model(config).eval()  # a Segmentor, or a detector of Detectron2's
        Checkpointer(self.model).load(str(weights))
        mapper = config.dataloader.test.mapper
        self._augmentations = list(instantiate(mapper.augmentations))
        told = {key: mapper[key] for key in ("image_format", "bands", "value_range") if key in mapper}
        self.reader = ImageReader(**told)
        self.metadata: Metadata = class_metadata(config)

    @property
    def task(self) -> Task:
        """The task of the model, named by the key of its results in Detectron2: `sem_seg` or `instances`."""
        return "sem_seg" if isinstance(self.model, Segmentor) else "instances"

    @property
    def model_name(self) -> str:
        """The name of the model in messages, which is that of its class."""
        return type(self.model).__name__

    @property
    def class_names(self) -> list[str]:
        """The names of the class ids: `stuff_classes` of the metadata for a segmentor, `thing_classes` for a detector.

        Raises:
            ValueError: The data set has no names of this kind.
        """
        key = "stuff_classes" if self.task == "sem_seg" else "thing_classes"
        if self.metadata.get(key) is None:  # Detectron2 sets COCO's class names only when it reads the records
            load_records(self.metadata.name)
        names = self.metadata.get(key)
        if names is None:
            raise ValueError(f"data set '{self.metadata.name}' has no {key} in its metadata; wanted one name per class")
        return list(names)

    def __call__(
        self, image: AnyImage | Sequence[AnyImage], *, confidence_threshold: float = 0.0
    ) -> np.ndarray | Instances | list[np.ndarray] | list[Instances]:
        """Predict an image: `class_ids` with a segmentor, `instances` with a detector.

        Args:
            image: An image (see the class), or a list of images. If the config sets `dataset.bands` or
                `dataset.value_range`, arrays and tensors contain these bands, with the values that files store.
            confidence_threshold: The lowest score of the instances to return; only for detectors.

        Raises:
            ValueError: A file cannot be read, an image has a wrong shape or type, or the threshold is not between 0 and
                1 or is given for a segmentor.
        """
        if self.task == "instances":
            return self.instances(image, confidence_threshold=confidence_threshold)
        if confidence_threshold:
            raise ValueError(
                f"confidence_threshold is {confidence_threshold}, but {self.model_name} predicts a class per pixel and "
                "no instances; wanted no threshold, or a detector"
            )
        return self.class_ids(image)

    def class_ids(self, image: AnyImage | Sequence[AnyImage]) -> np.ndarray | list[np.ndarray]:
        """Predict the class of each pixel, (H, W) int64, with a segmentor; arguments and errors as in `__call__`."""
        model = self._segmentor("class ids")
        return self._run(image, lambda records: [ids.cpu().numpy() for ids in model.class_ids(records)])

    def raster_ids(self, path: str | PathLike, *, window: int | None = None) -> np.ndarray:
        """Predict the class of each pixel of an image that is too large to run as a whole, with a segmentor.

        Arguments, result and errors are those of `tokenseg.rasters.raster_ids`.
        """
        with self._inference():
            return raster_ids(
                self._segmentor("class ids"),
                str(path),
                reader=self.reader,
                augmentations=self._augmentations,
                window=window,
            )

    def stored(self, ids: np.ndarray) -> np.ndarray:
        """Convert class ids (H, W) to the values in the label maps of the test data: ids, or colours (H, W, 3).

        See `to_stored` for classes to which several stored ids belong, and for errors.
        """
        return to_stored(ids, self.metadata)

    def scores(self, image: AnyImage | Sequence[AnyImage]) -> Tensor | list[Tensor]:
        """Compute the scores (K, H, W) of an image with a segmentor; arguments and errors as in `__call__`."""
        return self._run(image, self._segmentor("scores of each class").scores)

    def instances(
        self, image: AnyImage | Sequence[AnyImage], *, confidence_threshold: float = 0.0
    ) -> Instances | list[Instances]:
        """Predict the instances in an image with a detector.

        Args:
            image: An image or a list of images, as in `__call__`.
            confidence_threshold: The lowest score of the instances to return. The detector itself already leaves out
                those below `model.roi_heads.box_predictor.test_score_thresh` of its config.

        Returns:
            Detectron2's `Instances` on the CPU, at the size of the image, highest score first: `pred_boxes`,
            `pred_classes`, `scores` and, if the model predicts masks, `pred_masks` (instances, H, W).

        Raises:
            ValueError: As in `__call__`, or the model does not predict instances.
        """
        if not 0 <= confidence_threshold <= 1:
            raise ValueError(f"confidence_threshold is {confidence_threshold}; wanted a number from 0 to 1")
        if self.task == "sem_seg":
            raise ValueError(f"{self.model_name} predicts class ids and no instances; wanted a detector")

        def detect(records: list[dict]) -> list[Instances]:
            outputs = self.model(records)
            if "instances" not in outputs[0]:
                given = ", ".join(map(str, outputs[0]))
                raise ValueError(f"{self.model_name} returns {given}; wanted a Segmentor, or a model with instances")
            found = [output["instances"].to("cpu") for output in outputs]
            return [instances[instances.scores >= confidence_threshold] for instances in found]

        return self._run(image, detect)

    def outputs(self, image: AnyImage | Sequence[AnyImage]) -> dict | list[dict]:
        """Return the model's own output for an image, in Detectron2's format and on the model's device.

        Args:
            image: An image or a list of images, as in `__call__`.

        Returns:
            For each image a dict with `sem_seg`, the scores (K, H, W) from a segmentor, or `instances`, Detectron2's
            `Instances` from a detector.

        Raises:
            ValueError: As in `__call__`.
        """
        return self._run(image, self.model)

    def token_maps(self, image: AnyImage, classes: Sequence[int]) -> dict[str, np.ndarray]:
        """Compute the maps of some classes at each stage of a segmentor's head.

        Args:
            image: A single image; see the class.
            classes: The ids of the classes.

        Returns:
            Title of the stage -> the maps (classes, h, w), at the size of the model's input.

        Raises:
            ValueError: As in `__call__`, or the model is a detector, or its head has no stages to show.
        """
        with self._inference():
            stages = stage_maps(self._segmentor("maps of classes"), self._augmented(self._pixels(image)), classes)
        return {title: maps.cpu().numpy() for title, maps in stages.items()}

    def regions(self, image: AnyImage) -> np.ndarray:
        """Compute the regions of the model's tokens: weights (Q, h, w) of 0 or more, on the grid of the tokens' map.

        Args:
            image: A single image; see the class.

        Raises:
            ValueError: As in `__call__`, or the tokens of the model have no regions.
        """
        find: Callable[..., Regions] = image_regions if self.task == "sem_seg" else detector_regions
        with self._inference():
            return find(self.model, self._augmented(self._pixels(image))).weights.cpu().numpy()

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        """Inside the block the model runs without gradients and in the precision of the config."""
        # Casts are not cached, since a prediction uses most weights only once.
        with torch.no_grad(), autocast(self.model.device, self._amp_dtype, keep_casts=False):
            yield

    def _segmentor(self, what: str) -> Segmentor:
        """Return the model if it is a segmentor, which can give `what`; otherwise raise a ValueError."""
        if not isinstance(self.model, Segmentor):
            raise ValueError(
                f"{self.model_name} gives no {what} for the pixels of an image; wanted a Segmentor (with a detector, "
                "call the predictor itself, which gives instances)"
            )
        return self.model

    def _run(
        self, images: AnyImage | Sequence[AnyImage], predict: Callable[[list[dict]], list[_Result]]
    ) -> _Result | list[_Result]:
        """Predict one image, or a list of images, by a function of the model's inputs."""
        with self._inference():
            if not isinstance(images, (list, tuple)):
                return predict([self._record(cast(AnyImage, images), "the image")])[0]
            results: list[_Result] = []
            for start in range(0, len(images), self._batch_size):
                chunk = images[start : start + self._batch_size]
                names = [f"image {start + place} of the list" for place in range(len(chunk))]
                results += _by_size(list(map(self._record, chunk, names)), predict)
            return results

    def _record(self, image: AnyImage, name: str) -> dict:
        """Build the model's input record of an image, so that the result has the size of the image."""
        pixels = self._pixels(image, name)
        original = OriginalImage(pixels=pixels, augmentations=self._augmentations)
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        return {"image": self._augmented(pixels), "original": original, **size}

    def _augmented(self, pixels: np.ndarray) -> Tensor:
        """Apply the augmentations of the test to pixels (H, W, C), and return the model's input (C, h, w)."""
        inputs = T.AugInput(pixels)
        T.AugmentationList(self._augmentations)(inputs)
        return torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))

    def _pixels(self, image: AnyImage, name: str = "the image") -> np.ndarray:
        """Read the pixels (H, W, C) of an image of any type with the config's reader."""
        if isinstance(image, (str, PathLike)):
            return self.reader(str(image))
        if isinstance(image, Image.Image):
            return self.reader.from_array(pillow_pixels(image, name=name), name=name)
        if isinstance(image, Tensor):
            if (
                image.ndim != 3
                or image.shape[0] != self.reader.channels
                or (self.reader.is_plain and image.dtype != torch.uint8)
            ):
                raise ValueError(
                    f"{name} has shape {tuple(image.shape)} and type {image.dtype}; wanted "
                    f"a tensor ({self.reader.channels}, H, W) of uint8 grey levels from 0 to 255, or of the values of "
                    "the config's bands"
                )
            image = image.cpu().numpy().transpose(1, 2, 0)
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f"{name} is a {type(image).__name__}; wanted a path, a Pillow image, an (H, W, 3) uint8 array or a "
                "(3, H, W) uint8 tensor, or a list of them"
            )
        return self.reader.from_array(image, name=name)


def _by_size(records: Sequence[dict], predict: Callable[[list[dict]], list[_Result]]) -> list[_Result]:
    """Predict records, of which those with the same size run as one batch, and return the results in their order.

    In one batch, images of different sizes would be padded to the largest, and padding changes the results near the
    borders of an image.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault(tuple(record["image"].shape), []).append(place)
    found: dict[int, _Result] = {}
    for places in groups.values():
        found.update(zip(places, predict([records[place] for place in places]), strict=True))
    return [found[place] for place in range(len(records))]


def class_metadata(config: DictConfig) -> Metadata:
    """Return Detectron2's metadata of a config's test data, or of the first of several data sets."""
    dataset = config.dataloader.test.dataset
    # Detectron2's loaders take records, which a call in the config reads from the data sets of these names.
    if isinstance(dataset, DictConfig) and "names" in dataset:
        dataset = dataset.names
    names = instantiate(dataset)  # for own data this call also registers the data set
    return MetadataCatalog.get(names if isinstance(names, str) else names[0])
