"""A trained model as a function from images to class maps."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata
from omegaconf import DictConfig
from torch import Tensor

from .config.instantiate import instantiate
from .config.load import load_config
from .config.overrides import apply_overrides
from .data.images import read_image
from .data.rescaling import OriginalImage
from .engine.build import build_model
from .engine.checkpoint import Checkpointer
from .engine.devices import resolve_device
from .engine.precision import amp_dtype, autocast
from .inspection import image_regions, stage_maps


class Predictor:
    """Segments single images the way the evaluation of its config does.

        predictor = tokenseg.Predictor("output/quickstart/config.yaml", "output/quickstart/model_best.pth")
        ids = predictor("photo.jpg")

    Attributes:
        metadata: Detectron2's, of the config's test data; `stuff_classes` are the names of the ids.
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
        names = instantiate(config.dataloader.test.dataset)  # own data is registered by a call
        self.metadata: Metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])

    def __call__(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """
        Args:
            image: a file, or (H, W, 3) uint8 in RGB order.

        Returns:
            (H, W) int64 class ids.

        Raises:
            ValueError: a file that cannot be read, or an array of another shape or type.
        """
        with torch.no_grad(), autocast(self.model.device, self._amp_dtype):
            return self.model.class_ids([self._record(image)])[0].cpu().numpy()

    def scores(self, image: str | PathLike | np.ndarray) -> Tensor:
        """(K, H, W) scores of an image; see `__call__`."""
        with torch.no_grad(), autocast(self.model.device, self._amp_dtype):
            return self.model.scores([self._record(image)])[0]

    def token_maps(self, image: str | PathLike | np.ndarray, classes: Sequence[int]) -> dict[str, np.ndarray]:
        """What the model has of some classes, stage by stage: title -> (classes, h, w) at the size of its input.

        Args:
            image: as in `__call__`.
            classes: ids.

        Raises:
            ValueError: as in `__call__`, or a head that has no stages to show.
        """
        with autocast(self.model.device, self._amp_dtype):
            stages = stage_maps(self.model, self._augmented(self._pixels(image)), classes)
        return {title: maps.cpu().numpy() for title, maps in stages.items()}

    def regions(self, image: str | PathLike | np.ndarray) -> np.ndarray:
        """Where the model's tokens look: (K, h, w) weights of 0 or more, on the map of the tokens.

        Args:
            image: as in `__call__`.

        Raises:
            ValueError: as in `__call__`, or a model whose tokens have no regions.
        """
        with autocast(self.model.device, self._amp_dtype):
            return image_regions(self.model, self._augmented(self._pixels(image))).weights.cpu().numpy()

    def _record(self, image: str | PathLike | np.ndarray) -> dict:
        """An image as the model's input, to be segmented at the size of the image."""
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
