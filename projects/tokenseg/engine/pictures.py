"""Pictures of an evaluation: images of the test set with their labels and what the model makes of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from omegaconf import DictConfig
from torch import nn

from ..config.instantiate import instantiate
from ..d2_compat import undistributed
from ..data.images import read_image
from ..data.labels import read_class_ids
from ..datasets.records import load_records
from ..visualize import colorize, error_map, palette, panel_grid
from .devices import resolve_device
from .precision import amp_dtype, autocast

_TITLES = ("label", "prediction", "errors")


class EvaluationPictures:
    """Draws the same few images at every evaluation, and for each of the worst classes the image that has most of it.

    Attributes:
        images: The number of images that are the same every time, spread over the test set.
        worst: The number of worst classes.
    """

    def __init__(
        self,
        *,
        records: Sequence[dict],
        mapper: Callable[[dict], dict],
        class_names: Sequence[str],
        colors: np.ndarray,
        ignore_label: int,
        images: int,
        worst: int,
        amp_dtype: torch.dtype | None = None,
        read_picture: Callable[[str], np.ndarray] = read_image,
    ) -> None:
        """
        Args:
            records: The records of the test set, with label maps.
            mapper: The mapper of the test set, from a record to the model's input.
            class_names: The names of the classes.
            colors: (K, 3) uint8 RGB colours of the classes.
            ignore_label: The class id of pixels that count nowhere.
            images: The number of images that are the same every time.
            worst: The number of worst classes.
            amp_dtype: The type of mixed precision; None is off.
            read_picture: Reads the picture (H, W, 3) uint8 RGB of an image file.
        """
        self._records, self._mapper, self._amp_dtype = records, mapper, amp_dtype
        self._read_picture = read_picture
        self._names, self._colors, self._ignore_label = list(class_names), colors, ignore_label
        self.images, self.worst = images, worst
        self._largest: dict[int, int] | None = None

    def __call__(self, model: nn.Module, results: Mapping[str, Mapping[str, float]]) -> dict[str, np.ndarray]:
        """Draw after an evaluation. To be called in the main process alone, for a model that is whole there.

        Args:
            model: The model that was evaluated.
            results: What the evaluation found, with `sem_seg/IoU-<class>`.

        Returns:
            Name -> (h, w, 3) uint8 RGB: an image, its label map, the prediction and the errors side by side.
        """
        step = max(1, len(self._records) // max(self.images, 1))
        same = range(0, len(self._records), step)[: self.images]
        chosen = {f"images/{place}": (index, "image") for place, index in enumerate(same)}
        for rank, (class_id, iou) in enumerate(self._worst_classes(results.get("sem_seg", {}))):
            # the class stands in the picture, so that the picture of a rank keeps its name
            title = f"{self._names[class_id][:20]}, IoU {iou:.1f}"
            chosen[f"worst/{rank}"] = (self._image_with_most(class_id), title)
        return {name: self._draw(model, self._records[index], title) for name, (index, title) in chosen.items()}

    def _worst_classes(self, metrics: Mapping[str, float]) -> list[tuple[int, float]]:
        found = [(place, metrics.get(f"IoU-{name}", np.nan)) for place, name in enumerate(self._names)]
        known = sorted((pair for pair in found if not np.isnan(pair[1])), key=lambda pair: pair[1])
        return known[: self.worst]

    def _image_with_most(self, class_id: int) -> int:
        """The index of the image with most pixels of a class; all label maps are read at the first call."""
        if self._largest is None:
            most, self._largest = np.zeros(len(self._names), dtype=int), {}
            for index, record in enumerate(self._records):
                label = read_class_ids(record)
                counts = np.bincount(label[label != self._ignore_label].ravel(), minlength=len(most))[: len(most)]
                self._largest |= dict.fromkeys(np.flatnonzero(counts > most).tolist(), index)
                most = np.maximum(most, counts)
        return self._largest[class_id]

    def _draw(self, model: nn.Module, record: dict, title: str) -> np.ndarray:
        whole: Any = undistributed(model)
        was_training = whole.training
        whole.eval()
        with torch.no_grad(), autocast(next(whole.parameters()).device, self._amp_dtype):
            ids = whole.ids([self._mapper(dict(record))])[0]["class_ids"].cpu().numpy()
        whole.train(was_training)
        image, label = self._read_picture(record["file_name"]), read_class_ids(record)
        panels = [image, colorize(label, self._colors), colorize(ids, self._colors)]
        return panel_grid([[*panels, error_map(ids, label, self._ignore_label)]], titles=[title, *_TITLES])


def build_pictures(config: DictConfig) -> EvaluationPictures | None:
    """The pictures of a config's test set; None if `train.pictures` is 0 or the test set has no label maps."""
    number = config.train.get("pictures", 0)
    names = instantiate(config.dataloader.test.dataset) if number else []
    records = load_records(names) if number else []
    if not number or "sem_seg_file_name" not in records[0]:
        return None
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    mapper = instantiate(config.dataloader.test.mapper)
    return EvaluationPictures(
        records=records,
        mapper=mapper,
        read_picture=mapper.reader.read_picture,
        class_names=metadata.stuff_classes,
        colors=palette(metadata),
        ignore_label=metadata.ignore_label,
        images=number,
        worst=number,
        amp_dtype=amp_dtype(config.train.amp, resolve_device(config.train.device)),
    )
