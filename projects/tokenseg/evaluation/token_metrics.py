"""The semantics and the diversity of the regions of tokens, with classes or instances as bins.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 4. The paper does
not specify the following details, which are our choice: Entropies are in nats. Variances are summed over the bins
instead of averaged, since only sums match the published values. A cell that covers several labels counts for each in
proportion to its area. Regions without mass are skipped.

Letters: K regions of h x w cells, n bins, H x W pixels of the ground truth.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures.masks import polygons_to_bitmask
from detectron2.utils import comm
from pycocotools import mask as rle
from torch import Tensor

from ..data.labels import read_class_ids

logger = logging.getLogger(__name__)

# The mass in cells below which a region is skipped.
LEAST_MASS = 1e-6


def region_histograms(
    regions: Tensor, masks: Tensor, cell: tuple[float, float], *, least_mass: float = LEAST_MASS
) -> Tensor:
    """Compute the composition of each region by bins, in single precision even under autocast.

    Args:
        regions: The weights of the regions (K, h, w), 0 or more.
        masks: The pixels of each bin, (n, H, W) bool.
        cell: The (height, width) of a cell in pixels; the first cell begins at the upper left corner.
        least_mass: The mass in cells below which a region is skipped.

    Returns:
        The histograms (K', n) of the regions that are not skipped; each row sums to 1.
    """
    rows, columns = (
        _overlaps(count, pixels, side, regions.device)
        for count, pixels, side in zip(regions.shape[-2:], masks.shape[-2:], cell, strict=True)
    )
    with torch.autocast(regions.device.type, enabled=False):
        areas = rows @ masks.to(rows.dtype) @ columns.T / (cell[0] * cell[1])
        votes = regions.float().flatten(1) @ areas.flatten(1).T
    mass = votes.sum(dim=1, keepdim=True)
    return (votes / mass)[mass[:, 0] >= least_mass]


def _overlaps(count: int, pixels: int, side: float, device: torch.device) -> Tensor:
    """Compute the share of each pixel that lies in each of `count` cells of length `side`, along one axis, as a matrix
    (count, pixels)."""
    cells = side * torch.arange(count, device=device)[:, None]
    starts = torch.arange(pixels, device=device)
    return (torch.minimum(cells + side, starts + 1) - torch.maximum(cells, starts)).clamp(min=0)


def semantics(histograms: Tensor) -> float:
    """Compute S of an image, the mean entropy of the histograms (K, n) in nats. Lower is more semantic."""
    return float(torch.special.entr(histograms).sum(dim=1).mean())


def diversity(histograms: Tensor) -> float:
    """Compute D of an image, the variance of each bin over the histograms (K, n), summed. Higher is more diverse."""
    return float(histograms.var(dim=0, correction=0).sum())


class ClassMasks:
    """The bins of S_C and D_C: the classes that occur in an image."""

    level = "class"

    def __init__(self, *, ignore_label: int) -> None:
        """
        Args:
            ignore_label: The label of the pixels to ignore.
        """
        self._ignore_label = ignore_label

    def __call__(self, record: Mapping) -> np.ndarray:
        """
        Args:
            record: An input with the path of its label map, see `read_class_ids`.

        Returns:
            The mask of each class that occurs, (n, H, W) bool; ignored pixels are in no mask.

        Raises:
            ValueError: The input names no label map, or the label map cannot be read.
        """
        label = read_class_ids(record)
        classes = np.unique(label[label != self._ignore_label])
        return label == classes[:, None, None]


class InstanceMasks:
    """The bins of S_I and D_I: the annotated instances of an image, without crowds."""

    level = "instance"

    def __call__(self, record: Mapping) -> np.ndarray:
        """
        Args:
            record: An input with `height`, `width` and COCO's `annotations`.

        Returns:
            The mask of each instance, (n, H, W) bool; pixels that belong to no instance are in no mask.

        Raises:
            ValueError: The input has no annotations.
        """
        if "annotations" not in record:
            raise ValueError(
                f"the input of {record.get('file_name', 'an image')} has no annotations; wanted a data set with COCO "
                "annotations, and a mapper that keeps them, such as tokenseg.data.mapper.SemSegMapper"
            )
        size = record["height"], record["width"]
        masks = [_mask(one["segmentation"], *size) for one in record["annotations"] if not one.get("iscrowd", 0)]
        return np.stack(masks) if masks else np.zeros((0, *size), dtype=bool)


def _mask(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, dict):
        return rle.decode(segmentation).astype(bool)
    return polygons_to_bitmask([np.asarray(polygon) for polygon in segmentation], height, width)


class MaskSource(Protocol):
    """A function that returns the pixels of each bin in an image.

    Attributes:
        level: The kind of the bins, `class` or `instance`.
    """

    @property
    def level(self) -> str: ...

    def __call__(self, record: Mapping) -> np.ndarray:
        """Return the pixels of each bin of an input, (n, H, W) bool."""


class TokenMetrics(DatasetEvaluator):
    """S and D of a model's regions, averaged over the images of a data set.

    The model's outputs must have `regions` and `region_cell`. They are among the outputs of a `RegionSegmentor` and, on
    request, of every `Segmentor` whose tokens have regions.
    """

    wants = frozenset({"regions"})

    def __init__(
        self,
        *,
        masks: MaskSource,
        distributed: bool = True,
        least_mass: float = LEAST_MASS,
    ) -> None:
        """
        Args:
            masks: The source of the bins, `ClassMasks` or `InstanceMasks`.
            distributed: Whether to combine the results of all processes.
            least_mass: The mass in cells below which a region is skipped in an image. With tokens that stand for
                classes, a value of 1 or more skips most tokens of absent classes, whose regions are almost empty.
        """
        self._masks, self._distributed, self._least_mass = masks, distributed, least_mass
        self.reset()

    def metric_names(self) -> list[str]:
        """Return the names `<task>/<name>` of the metrics from `evaluate`."""
        level = self._masks.level
        letter = level[0].upper()
        return [f"tokens_{level}/{name}" for name in (f"S_{letter}", f"D_{letter}", f"S_{letter}_of_max", "images")]

    def reset(self) -> None:
        self._images: list[tuple[float, float, float]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: The records of the images, with the entries that the `masks` need.
            outputs: The outputs of the model for these images, with `regions` (K, h, w) and `region_cell`.

        Raises:
            ValueError: An output has no regions, or an input lacks an entry that the `masks` need.
        """
        for record, output in zip(inputs, outputs, strict=True):
            if "regions" not in output:
                raise ValueError(
                    "the model's outputs have no regions; wanted a model that returns them, such as "
                    "model._target_=tokenseg.inspection.RegionSegmentor"
                )
            regions, masks = output["regions"], self._masks(record)
            if not len(masks):
                continue
            bins = torch.from_numpy(masks).to(regions.device)
            histograms = region_histograms(regions, bins, output["region_cell"], least_mass=self._least_mass)
            if len(histograms):
                entropy = semantics(histograms)
                share = entropy / math.log(len(masks)) if len(masks) > 1 else 0.0
                self._images.append((entropy, share, diversity(histograms)))

    def evaluate(self) -> OrderedDict | None:
        """Compute the metrics.

        Returns:
            In the main process, for classes `{"tokens_class": {"S_C", "D_C", "S_C_of_max", "images"}}`, where
            `S_C_of_max` is the entropy divided by its maximum ln n, and `images` the number of images that count; for
            instances likewise, with the letter I. None in other processes.
        """
        images = self._images
        if self._distributed:
            comm.synchronize()
            images = [one for part in comm.all_gather(images) for one in part]
            if not comm.is_main_process():
                return None
        level = self._masks.level
        letter = level[0].upper()
        entropy, share, variance = np.mean(images, axis=0) if images else (math.nan,) * 3
        values = {f"S_{letter}": entropy, f"D_{letter}": variance, f"S_{letter}_of_max": share, "images": len(images)}
        logger.info(
            "Token metrics by %s: %s", level, ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        )
        return OrderedDict({f"tokens_{level}": {name: float(value) for name, value in values.items()}})
