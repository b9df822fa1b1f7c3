"""A trained model as a function from images to class maps or instances."""

import contextlib
from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata
from detectron2.structures import Instances
from omegaconf import DictConfig
from torch import Tensor

from .config.instantiate import instantiate
from .config.load import load_config
from .config.overrides import apply_overrides
from .data.images import read_image
from .data.rescaling import OriginalImage
from .datasets.records import load_records
from .engine.build import build_model
from .engine.checkpoint import Checkpointer
from .engine.devices import resolve_device
from .engine.precision import amp_dtype, autocast
from .inspection import detector_regions, image_regions, stage_maps
from .segmentor import Segmentor


class Predictor:
    """Runs a trained model on single images the way the evaluation of its config does.

        predictor = tokenseg.Predictor("output/quickstart/config.yaml", "output/quickstart/model_best.pth")
        ids = predictor("photo.jpg")                                    # of a segmentor
        instances = predictor("photo.jpg", confidence_threshold=0.5)    # of a detector

    Attributes:
        model: The model in evaluation mode, on its device.
        metadata: Detectron2's metadata of the config's test data; see `class_names`.
    """

    def __init__(
        self,
        config: str | PathLike | DictConfig,
        weights: str | PathLike,
        *,
        overrides: Sequence[str] = (),
        trust_config: bool = False,
    ) -> None:
        """
        Args:
            config: a config file, or a loaded config; a run leaves its own as config.yaml.
            weights: checkpoint of that model; every key must fit.
            overrides: `key=value` each, for instance `train.device=cpu`.
            trust_config: whether a config.yaml may call anything, such as classes of your own, and thereby
                run any code.

        Raises:
            ValueError: a config or weights that do not exist, or weights of another model.
        """
        if not isinstance(config, DictConfig):
            config = load_config(str(config), trust_config=trust_config)
        config = apply_overrides(config.copy(), overrides)
        device = resolve_device(config.train.device)
        self._amp_dtype = amp_dtype(config.train.amp, device)
        self.model = build_model(config).eval()
        if not str(weights):  # Detectron2 takes it for "no checkpoint"
            raise ValueError("weights is empty; wanted the checkpoint of a trained model")
        Checkpointer(self.model).load(str(weights))
        mapper = config.dataloader.test.mapper
        self._augmentations = list(instantiate(mapper.augmentations))
        self._image_format = mapper.image_format
        self.metadata: Metadata = class_metadata(config)

    @property
    def class_names(self) -> list[str]:
        """The names of the class ids: `stuff_classes` of the metadata for a segmentor, `thing_classes` for a detector.

        Raises:
            ValueError: The data set has no names of this kind.
        """
        key = "stuff_classes" if isinstance(self.model, Segmentor) else "thing_classes"
        if self.metadata.get(key) is None:  # Detectron2 learns them from COCO's file when it reads the records
            load_records(self.metadata.name)
        names = self.metadata.get(key)
        if names is None:
            raise ValueError(f"data set '{self.metadata.name}' has no {key} in its metadata; wanted one name a class")
        return list(names)

    def __call__(
        self, image: str | PathLike | np.ndarray, *, confidence_threshold: float = 0.0
    ) -> np.ndarray | Instances:
        """Give what the model is for: `class_ids` of a segmentor, `instances` of a detector.

        Args:
            image: The path of a file, or an (H, W, 3) uint8 array in RGB order.
            confidence_threshold: The lowest score of an instance that is given; for detectors alone.

        Raises:
            ValueError: A file that cannot be read, an array of another shape or type, or a threshold that is not
                between 0 and 1 or is given for a segmentor.
        """
        if not isinstance(self.model, Segmentor):
            return self.instances(image, confidence_threshold=confidence_threshold)
        if confidence_threshold:
            raise ValueError(
                f"confidence_threshold is {confidence_threshold}, but {type(self.model).__name__} gives each pixel a "
                "class and no instances; wanted no threshold, or a detector"
            )
        return self.class_ids(image)

    def class_ids(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """The class of each pixel of an image, (H, W) int64, by a segmentor; see `__call__`."""
        with self._inference():
            return self._segmentor("class ids").class_ids([self._record(image)])[0].cpu().numpy()

    def scores(self, image: str | PathLike | np.ndarray) -> Tensor:
        """The scores (K, H, W) of an image's pixels, by a segmentor; see `__call__`."""
        with self._inference():
            return self._segmentor("scores of each class").scores([self._record(image)])[0]

    def instances(self, image: str | PathLike | np.ndarray, *, confidence_threshold: float = 0.0) -> Instances:
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
        if isinstance(self.model, Segmentor):
            raise ValueError(f"{type(self.model).__name__} gives class ids and no instances; wanted a detector")
        with self._inference():
            output = self.model([self._record(image)])[0]
        if "instances" not in output:
            given = ", ".join(map(str, output))
            raise ValueError(
                f"{type(self.model).__name__} gives {given}; wanted a Segmentor, or a model with instances"
            )
        instances = output["instances"].to("cpu")
        return instances[instances.scores >= confidence_threshold]

    def token_maps(self, image: str | PathLike | np.ndarray, classes: Sequence[int]) -> dict[str, np.ndarray]:
        """What a segmentor has of some classes, stage by stage: title -> (classes, h, w) at the size of its input.

        Args:
            image: As in `__call__`.
            classes: The ids of the classes.

        Raises:
            ValueError: As in `__call__`, a detector, or a head that has no stages to show.
        """
        with self._inference():
            stages = stage_maps(self._segmentor("maps of classes"), self._augmented(self._pixels(image)), classes)
        return {title: maps.cpu().numpy() for title, maps in stages.items()}

    def regions(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """Where the model's tokens look: (K, h, w) weights of 0 or more, on the map of the tokens.

        Args:
            image: As in `__call__`.

        Raises:
            ValueError: As in `__call__`, or a model whose tokens have no regions.
        """
        find = image_regions if isinstance(self.model, Segmentor) else detector_regions
        with self._inference():
            return find(self.model, self._augmented(self._pixels(image))).weights.cpu().numpy()

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        """Without gradients, in the precision of the config."""
        with torch.no_grad(), autocast(self.model.device, self._amp_dtype):
            yield

    def _segmentor(self, what: str) -> Segmentor:
        """The model, if it can give what is asked of it."""
        if not isinstance(self.model, Segmentor):
            raise ValueError(
                f"{type(self.model).__name__} gives no {what} for the pixels of an image; wanted a Segmentor (a "
                "detector gives its instances when the predictor is called)"
            )
        return self.model

    def _record(self, image: str | PathLike | np.ndarray) -> dict:
        """An image as the model's input, for results at the size of the image."""
        pixels = self._pixels(image)
        original = OriginalImage(pixels=pixels, augmentations=self._augmentations)
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        return {"image": self._augmented(pixels), "original": original, **size}

    def _augmented(self, pixels: np.ndarray) -> Tensor:
        """(H, W, 3) pixels as the model's input (3, h, w)."""
        inputs = T.AugInput(pixels)
        T.AugmentationList(self._augmentations)(inputs)
        return torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))

    def _pixels(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        if not isinstance(image, np.ndarray):
            return read_image(str(image), image_format=self._image_format)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"the image has shape {image.shape} and type {image.dtype}; wanted (H, W, 3) uint8")
        return image if self._image_format == "RGB" else image[:, :, ::-1]


def class_metadata(config: DictConfig) -> Metadata:
    """Detectron2's metadata of a config's test data, or of the first of several sets."""
    dataset = config.dataloader.test.dataset
    if isinstance(dataset, DictConfig) and "names" in dataset:  # Detectron2's loaders take records, read by name
        dataset = dataset.names
    names = instantiate(dataset)  # own data is registered by a call
    return MetadataCatalog.get(names if isinstance(names, str) else names[0])
