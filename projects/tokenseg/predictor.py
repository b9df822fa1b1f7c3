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

# What an image may be given as; see `Predictor`.
AnyImage = str | PathLike | Image.Image | np.ndarray | Tensor
_Result = TypeVar("_Result")


class Predictor:
    """Runs a trained model on images the way the evaluation of its config does; keeps the contract `Predicts`.

        predictor = tokenseg.Predictor("output/quickstart/config.yaml", "output/quickstart/model_best.pth")
        ids = predictor("photo.jpg")                                    # of a segmentor
        instances = predictor("photo.jpg", confidence_threshold=0.5)    # of a detector
        several = predictor(["a.jpg", PIL.Image.open("b.png"), array])  # a list gives a list

    An image is the path of a file, an image of Pillow's, an (H, W, 3) array or a (3, H, W) tensor; arrays and tensors
    are uint8 in RGB order. Where a method takes a list of images it gives the list of their results, which are those
    that the images have one by one: images that have the same size as inputs of the model run together.

    Attributes:
        model: The model in evaluation mode, on its device.
        reader: What turns files and arrays into pixels.
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
            config: A config file, or a loaded config; a run leaves its own as config.yaml.
            weights: Checkpoint of that model; every key must fit.
            overrides: `key=value` each, for instance `train.device=cpu`.
            trust_config: Whether a config.yaml may call anything, such as classes of your own, and thereby
                run any code.
            batch_size: The largest number of images of a list that the model runs at once.

        Raises:
            ValueError: A config or weights that do not exist, weights of another model, or a batch of no image.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; wanted a whole number of 1 or more")
        self._batch_size = batch_size
        if not isinstance(config, DictConfig):
            config = load_config(str(config), trust_config=trust_config)
        config = apply_overrides(config.copy(), overrides)
        device = resolve_device(config.train.device)
        self._amp_dtype = amp_dtype(config.train.amp, device)
        self.model: Any = build_model(config).eval()  # a Segmentor, or a detector of Detectron2's
        if not str(weights):  # Detectron2 takes it for "no checkpoint"
            raise ValueError("weights is empty; wanted the checkpoint of a trained model")
        Checkpointer(self.model).load(str(weights))
        mapper = config.dataloader.test.mapper
        self._augmentations = list(instantiate(mapper.augmentations))
        told = {key: mapper[key] for key in ("image_format", "bands", "value_range") if key in mapper}
        self.reader = ImageReader(**told)
        self.metadata: Metadata = class_metadata(config)

    @property
    def task(self) -> Task:
        """What the model is for, by the key of its results in Detectron2: `sem_seg` or `instances`."""
        return "sem_seg" if isinstance(self.model, Segmentor) else "instances"

    @property
    def model_name(self) -> str:
        """What the model is called in messages: its class."""
        return type(self.model).__name__

    @property
    def class_names(self) -> list[str]:
        """The names of the class ids: `stuff_classes` of the metadata for a segmentor, `thing_classes` for a detector.

        Raises:
            ValueError: The data set has no names of this kind.
        """
        key = "stuff_classes" if self.task == "sem_seg" else "thing_classes"
        if self.metadata.get(key) is None:  # Detectron2 learns them from COCO's file when it reads the records
            load_records(self.metadata.name)
        names = self.metadata.get(key)
        if names is None:
            raise ValueError(f"data set '{self.metadata.name}' has no {key} in its metadata; wanted one name a class")
        return list(names)

    def __call__(
        self, image: AnyImage | Sequence[AnyImage], *, confidence_threshold: float = 0.0
    ) -> np.ndarray | Instances | list[np.ndarray] | list[Instances]:
        """Give what the model is for: `class_ids` of a segmentor, `instances` of a detector.

        Args:
            image: An image, see the class, or a list of images; where the config names `dataset.bands` or a
                `dataset.value_range`, an array or tensor has that many bands of stored values.
            confidence_threshold: The lowest score of an instance that is given; for detectors alone.

        Raises:
            ValueError: A file that cannot be read, an image of another shape or type, or a threshold that is not
                between 0 and 1 or is given for a segmentor.
        """
        if self.task == "instances":
            return self.instances(image, confidence_threshold=confidence_threshold)
        if confidence_threshold:
            raise ValueError(
                f"confidence_threshold is {confidence_threshold}, but {self.model_name} gives each pixel a class and "
                "no instances; wanted no threshold, or a detector"
            )
        return self.class_ids(image)

    def class_ids(self, image: AnyImage | Sequence[AnyImage]) -> np.ndarray | list[np.ndarray]:
        """The class of each pixel of an image, (H, W) int64, by a segmentor; see `__call__`."""
        model = self._segmentor("class ids")
        return self._run(image, lambda records: [ids.cpu().numpy() for ids in model.class_ids(records)])

    def raster_ids(self, path: str | PathLike, *, window: int | None = None) -> np.ndarray:
        """The class of each pixel of an image that is too large to run as a whole, by a segmentor.

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
        """Turn class ids (H, W) into what the label maps of the test data store: ids, or (H, W, 3) colours.

        See `to_stored` for classes that several stored ids stand for, and for errors.
        """
        return to_stored(ids, self.metadata)

    def scores(self, image: AnyImage | Sequence[AnyImage]) -> Tensor | list[Tensor]:
        """The scores (K, H, W) of an image's pixels, by a segmentor; see `__call__`."""
        return self._run(image, self._segmentor("scores of each class").scores)

    def instances(
        self, image: AnyImage | Sequence[AnyImage], *, confidence_threshold: float = 0.0
    ) -> Instances | list[Instances]:
        """The instances in an image, by a detector.

        Args:
            image: As in `__call__`.
            confidence_threshold: The lowest score of an instance that is given. The detector itself leaves out those
                below `model.roi_heads.box_predictor.test_score_thresh` of its config.

        Returns:
            Detectron2's `Instances` on the CPU, at the size of the image: `pred_boxes`, `pred_classes`, `scores` and,
            of a model with masks, `pred_masks` (instances, H, W), highest score first.

        Raises:
            ValueError: As in `__call__`, or a model that gives no instances.
        """
        if not 0 <= confidence_threshold <= 1:
            raise ValueError(f"confidence_threshold is {confidence_threshold}; wanted a number from 0 to 1")
        if self.task == "sem_seg":
            raise ValueError(f"{self.model_name} gives class ids and no instances; wanted a detector")

        def detect(records: list[dict]) -> list[Instances]:
            outputs = self.model(records)
            if "instances" not in outputs[0]:
                given = ", ".join(map(str, outputs[0]))
                raise ValueError(f"{self.model_name} gives {given}; wanted a Segmentor, or a model with instances")
            found = [output["instances"].to("cpu") for output in outputs]
            return [instances[instances.scores >= confidence_threshold] for instances in found]

        return self._run(image, detect)

    def outputs(self, image: AnyImage | Sequence[AnyImage]) -> dict | list[dict]:
        """What Detectron2's own models return for an image, on the model's device.

        Args:
            image: As in `__call__`.

        Returns:
            For each image a dict with `sem_seg`, the scores (K, H, W) of a segmentor, or `instances`, Detectron2's
            `Instances` of a detector.

        Raises:
            ValueError: As in `__call__`.
        """
        return self._run(image, self.model)

    def token_maps(self, image: AnyImage, classes: Sequence[int]) -> dict[str, np.ndarray]:
        """What a segmentor has of some classes, stage by stage: title -> (classes, h, w) at the size of its input.

        Args:
            image: One image, see the class.
            classes: The ids of the classes.

        Raises:
            ValueError: As in `__call__`, a detector, or a head that has no stages to show.
        """
        with self._inference():
            stages = stage_maps(self._segmentor("maps of classes"), self._augmented(self._pixels(image)), classes)
        return {title: maps.cpu().numpy() for title, maps in stages.items()}

    def regions(self, image: AnyImage) -> np.ndarray:
        """Where the model's tokens look: (K, h, w) weights of 0 or more, on the map of the tokens.

        Args:
            image: One image, see the class.

        Raises:
            ValueError: As in `__call__`, or a model whose tokens have no regions.
        """
        find: Callable[..., Regions] = image_regions if self.task == "sem_seg" else detector_regions
        with self._inference():
            return find(self.model, self._augmented(self._pixels(image))).weights.cpu().numpy()

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        """Without gradients, in the precision of the config."""
        # a prediction uses most weights once
        with torch.no_grad(), autocast(self.model.device, self._amp_dtype, keep_casts=False):
            yield

    def _segmentor(self, what: str) -> Segmentor:
        """The model, if it can give what is asked of it."""
        if not isinstance(self.model, Segmentor):
            raise ValueError(
                f"{self.model_name} gives no {what} for the pixels of an image; wanted a Segmentor (a "
                "detector gives its instances when the predictor is called)"
            )
        return self.model

    def _run(
        self, images: AnyImage | Sequence[AnyImage], predict: Callable[[list[dict]], list[_Result]]
    ) -> _Result | list[_Result]:
        """The result of an image, or the list of those of several, by a function of the model's inputs."""
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
        """An image as the model's input, for results at the size of the image."""
        pixels = self._pixels(image, name)
        original = OriginalImage(pixels=pixels, augmentations=self._augmentations)
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        return {"image": self._augmented(pixels), "original": original, **size}

    def _augmented(self, pixels: np.ndarray) -> Tensor:
        """(H, W, 3) pixels as the model's input (3, h, w)."""
        inputs = T.AugInput(pixels)
        T.AugmentationList(self._augmentations)(inputs)
        return torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))

    def _pixels(self, image: AnyImage, name: str = "the image") -> np.ndarray:
        """The pixels (H, W, C) as the config's reader gives them."""
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
                    f"({self.reader.channels}, H, W) uint8 of a tensor, grey levels from 0 to 255, or its bands"
                )
            image = image.cpu().numpy().transpose(1, 2, 0)
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f"{name} is a {type(image).__name__}; wanted a path, an image of Pillow's, an (H, W, 3) uint8 array or "
                "a (3, H, W) uint8 tensor, or a list of them"
            )
        return self.reader.from_array(image, name=name)


def _by_size(records: Sequence[dict], predict: Callable[[list[dict]], list[_Result]]) -> list[_Result]:
    """The results of records in their order, of which those of one size run together.

    Images of different sizes would be padded to the largest, and what lies beside an image changes its borders.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault(tuple(record["image"].shape), []).append(place)
    found: dict[int, _Result] = {}
    for places in groups.values():
        found.update(zip(places, predict([records[place] for place in places]), strict=True))
    return [found[place] for place in range(len(records))]


def class_metadata(config: DictConfig) -> Metadata:
    """Detectron2's metadata of a config's test data, or of the first of several sets."""
    dataset = config.dataloader.test.dataset
    if isinstance(dataset, DictConfig) and "names" in dataset:  # Detectron2's loaders take records, read by name
        dataset = dataset.names
    names = instantiate(dataset)  # own data is registered by a call
    return MetadataCatalog.get(names if isinstance(names, str) else names[0])
