"""How semantic and how diverse the regions of tokens are, at the level of classes or of instances.

Paper: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), section 4. It leaves open
what is marked "ours": entropies are in nats; variances are summed over bins, not averaged, as the published values
demand; a cell votes for the labels it covers by their areas; regions without mass say nothing.

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

# A region with less mass than this, in cells, is skipped.
LEAST_MASS = 1e-6


def region_histograms(
    regions: Tensor, masks: Tensor, cell: tuple[float, float], *, least_mass: float = LEAST_MASS
) -> Tensor:
    """What each region consists of, counted in single precision, under autocast too.

    Args:
        regions: (K, h, w) weights of 0 or more.
        masks: (n, H, W) bool, the pixels of each bin.
        cell: Height and width of a cell in pixels; cells begin at the upper left corner.
        least_mass: The mass under which a region is skipped, in cells.

    Returns:
        (K', n), each row of sum 1, of the regions that have mass.
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
    """(count, pixels): how much of each pixel lies in each cell of `side` pixels, along one axis."""
    cells = side * torch.arange(count, device=device)[:, None]
    starts = torch.arange(pixels, device=device)
    return (torch.minimum(cells + side, starts + 1) - torch.maximum(cells, starts)).clamp(min=0)


def semantics(histograms: Tensor) -> float:
    """S of an image: mean entropy of (K, n) histograms, in nats. Lower is more semantic."""
    return float(torch.special.entr(histograms).sum(dim=1).mean())


def diversity(histograms: Tensor) -> float:
    """D of an image: variance over regions of each bin of (K, n) histograms, summed. Higher is more diverse."""
    return float(histograms.var(dim=0, correction=0).sum())


class ClassMasks:
    """The bins of S_C and D_C: the classes that an image shows."""

    level = "class"

    def __init__(self, *, ignore_label: int) -> None:
        """
        Args:
            ignore_label: The id of pixels that count nowhere.
        """
        self._ignore_label = ignore_label

    def __call__(self, record: Mapping) -> np.ndarray:
        """
        Args:
            record: An input that names its label map, see `read_class_ids`.

        Returns:
            (n, H, W) bool, a mask per class that occurs; ignored pixels are in none.

        Raises:
            ValueError: The input names no label map, or one that cannot be read.
        """
        label = read_class_ids(record)
        classes = np.unique(label[label != self._ignore_label])
        return label == classes[:, None, None]


class InstanceMasks:
    """The bins of S_I and D_I: the instances of an image, of things alone and without crowds."""

    level = "instance"

    def __call__(self, record: Mapping) -> np.ndarray:
        """
        Args:
            record: An input with `height`, `width` and COCO's `annotations`.

        Returns:
            (n, H, W) bool, a mask per instance; pixels without an instance are in none.

        Raises:
            ValueError: The input has no annotations.
        """
        if "annotations" not in record:
            raise ValueError(
                f"the input of {record.get('file_name', 'an image')} has no annotations; wanted a data set with COCO's "
                "instances, and a mapper that keeps them, such as tokenseg.data.mapper.SemSegMapper"
            )
        size = record["height"], record["width"]
        masks = [_mask(one["segmentation"], *size) for one in record["annotations"] if not one.get("iscrowd", 0)]
        return np.stack(masks) if masks else np.zeros((0, *size), dtype=bool)


def _mask(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, dict):
        return rle.decode(segmentation).astype(bool)
    return polygons_to_bitmask([np.asarray(polygon) for polygon in segmentation], height, width)


class MaskSource(Protocol):
    """What says which pixels of an image belong to each bin.

    Attributes:
        level: What the bins are: `class` or `instance`.
    """

    @property
    def level(self) -> str: ...

    def __call__(self, record: Mapping) -> np.ndarray:
        """(B, H, W) bool, the pixels of each bin of an input."""


class TokenMetrics(DatasetEvaluator):
    """S and D of a model's regions over a data set: means over its images.

    It reads `regions` and `region_cell` of the outputs, which a `RegionSegmentor` gives, and, if it is asked for them,
    any `Segmentor` whose tokens have regions.
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
            masks: What gives the pixels of each bin of an input: `ClassMasks` or `InstanceMasks`.
            distributed: Whether the results of all processes are joined.
            least_mass: The mass, in cells, under which a region of an image is skipped. With 1 or more, the tokens of
                classes that an image lacks count in it only where they see something.
        """
        self._masks, self._distributed, self._least_mass = masks, distributed, least_mass
        self.reset()

    def metric_names(self) -> list[str]:
        """The names of what `evaluate` gives, `<task>/<name>`."""
        level = self._masks.level
        letter = level[0].upper()
        return [f"tokens_{level}/{name}" for name in (f"S_{letter}", f"D_{letter}", f"S_{letter}_of_max", "images")]

    def reset(self) -> None:
        self._images: list[tuple[float, float, float]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: The records of the images, with the entries that `masks` looks for.
            outputs: What the model gave for them, with `regions` (K, h, w) and `region_cell`.

        Raises:
            ValueError: Outputs without regions.
        """
        for record, output in zip(inputs, outputs, strict=True):
            if "regions" not in output:
                raise ValueError(
                    "the model's outputs have no regions; wanted a model that gives them, such as "
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
        """`{"tokens_class": {"S_C", "D_C", "S_C_of_max", "images"}}` on the main process, None on others; for instances
        likewise. `S_C_of_max` is the entropy divided by ln n, the highest there is."""
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
        logger.info("Tokens, by %s: %s", level, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        return OrderedDict({f"tokens_{level}": {name: float(value) for name, value in values.items()}})
