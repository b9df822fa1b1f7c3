"""Pictures of an evaluation: images of the test set beside their labels and the model's predictions."""

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
    """Draws a few fixed images at every evaluation, and one image for each of the classes with the lowest IoU.

    For such a class, the image with most of its pixels is drawn.

    Attributes:
        images: The number of fixed images, which are spread evenly over the test set.
        worst: The number of classes with the lowest IoU.
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
            mapper: The mapper of the test set, which turns a record into an input of the model.
            class_names: The names of the K classes.
            colors: The colours (K, 3) of the classes, uint8 RGB.
            ignore_label: The label of the pixels to ignore.
            images: The number of fixed images.
            worst: The number of classes with the lowest IoU.
            amp_dtype: The data type of mixed precision, or None for full precision.
            read_picture: A function that reads an image file as a picture (H, W, 3) uint8 RGB.
        """
        self._records, self._mapper, self._amp_dtype = records, mapper, amp_dtype
        self._read_picture = read_picture
        self._names, self._colors, self._ignore_label = list(class_names), colors, ignore_label
        self.images, self.worst = images, worst
        self._largest: dict[int, int] | None = None

    def __call__(self, model: nn.Module, results: Mapping[str, Mapping[str, float]]) -> dict[str, np.ndarray]:
        """Draw the pictures of an evaluation. Only the main process calls this.

        Args:
            model: The model that was evaluated, with all of its weights in this process.
            results: The results of the evaluation, of which `IoU-<class>` of the task `sem_seg` are used.

        Returns:
            The pictures (h, w, 3) uint8 RGB by name: an image, its label map, the prediction and the errors side by
            side.
        """
        step = max(1, len(self._records) // max(self.images, 1))
        same = range(0, len(self._records), step)[: self.images]
        chosen = {f"images/{place}": (index, "image") for place, index in enumerate(same)}
        for rank, (class_id, iou) in enumerate(self._worst_classes(results.get("sem_seg", {}))):
            # The title names the class, so that the picture of a rank can have the same name at every evaluation.
            title = f"{self._names[class_id][:20]}, IoU {iou:.1f}"
            chosen[f"worst/{rank}"] = (self._image_with_most(class_id), title)
        return {name: self._draw(model, self._records[index], title) for name, (index, title) in chosen.items()}

    def _worst_classes(self, metrics: Mapping[str, float]) -> list[tuple[int, float]]:
        found = [(place, metrics.get(f"IoU-{name}", np.nan)) for place, name in enumerate(self._names)]
        known = sorted((pair for pair in found if not np.isnan(pair[1])), key=lambda pair: pair[1])
        return known[: self.worst]

    def _image_with_most(self, class_id: int) -> int:
        """Return the index of the image with most pixels of a class. The first call reads all label maps."""
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
        precision = autocast(next(whole.parameters()).device, self._amp_dtype)
        # A compiled model would be compiled again for every size of an image.
        with torch.no_grad(), precision, torch.compiler.set_stance("force_eager"):
            ids = whole.ids([self._mapper(dict(record))])[0]["class_ids"].cpu().numpy()
        whole.train(was_training)
        image, label = self._read_picture(record["file_name"]), read_class_ids(record)
        panels = [image, colorize(label, self._colors), colorize(ids, self._colors)]
        return panel_grid([[*panels, error_map(ids, label, self._ignore_label)]], titles=[title, *_TITLES])


def build_pictures(config: DictConfig) -> EvaluationPictures | None:
    """Build the pictures of a config's test set; None if `train.pictures` is 0 or the test set has no label maps."""
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
