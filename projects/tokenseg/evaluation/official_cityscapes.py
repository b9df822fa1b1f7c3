"""The official Cityscapes evaluation of the package cityscapesscripts, in addition to our own."""

import copy
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from PIL import Image

from ..datasets.stored_ids import to_submission
from .sem_seg import ConfusionEvaluator

logger = logging.getLogger(__name__)

# The key of each metric in the results of cityscapesscripts.
_OFFICIAL = {
    "IoU": "averageScoreClasses",
    "iIoU": "averageScoreInstClasses",
    "IoU_sup": "averageScoreCategories",
    "iIoU_sup": "averageScoreInstCategories",
}


class OfficialCityscapesEvaluator(ConfusionEvaluator):
    """A `ConfusionEvaluator` that also evaluates the predictions with the official Cityscapes script.

    It adds the metrics `cityscapes/IoU` and `cityscapes/iIoU`, which weights instances by their size, for classes and,
    with the suffix `_sup`, for categories. To use it, override
    `dataloader.evaluator._target_=tokenseg.evaluation.official_cityscapes.OfficialCityscapesEvaluator`.

    The predictions are written as PNGs of label ids, the format of the benchmark server, to the folder `cityscapes` of
    `output_dir`, which all processes must be able to access.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        output_dir: str,
        distributed: bool = True,
        save_predictions: bool = False,
        metrics: Sequence[str] = (),
    ) -> None:
        """
        Args:
            dataset_name: The name of a registered Cityscapes data set, such as `cityscapes_fine_sem_seg_val`.
            output_dir: The folder to which results and predictions are written.
            distributed: See `ConfusionEvaluator`.
            save_predictions: See `ConfusionEvaluator`.
            metrics: See `ConfusionEvaluator`.

        Raises:
            ValueError: The package cityscapesscripts is missing, or an error of `ConfusionEvaluator`.
        """
        _script()  # fails now, rather than after a training, if the package is missing
        super().__init__(
            dataset_name=dataset_name,
            output_dir=output_dir,
            distributed=distributed,
            save_predictions=save_predictions,
            metrics=metrics,
        )
        self._folder = os.path.join(output_dir, "cityscapes")

    def reset(self) -> None:
        super().reset()
        self._pairs: list[tuple[str, str]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Count and write the predictions; arguments and errors as in `ConfusionEvaluator`."""
        super().process(inputs, outputs)
        os.makedirs(self._folder, exist_ok=True)
        for record, output in zip(inputs, outputs, strict=True):
            name = os.path.splitext(os.path.basename(record["file_name"]))[0]
            file = os.path.join(self._folder, f"{name}.png")
            Image.fromarray(to_submission(self._class_ids(output), MetadataCatalog.get(self._dataset_name))).save(file)
            self._pairs.append((file, record["sem_seg_file_name"]))

    def metric_names(self) -> list[str]:
        return [*super().metric_names(), *(f"cityscapes/{name}" for name in _OFFICIAL)]

    def evaluate(self) -> OrderedDict | None:
        """Return the results of `ConfusionEvaluator`, and the official metrics in per cent under `cityscapes`.

        Raises:
            ValueError: The official label ids are missing.
        """
        results, pairs = super().evaluate(), self._pairs
        if self._distributed:
            pairs = [pair for part in comm.all_gather(pairs) for pair in part]
        if results is not None:
            results["cityscapes"] = official_metrics(pairs)
        return results


def official_metrics(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Evaluate predictions with the official Cityscapes script.

    Args:
        pairs: The path of each prediction, a PNG of label ids, and of its label map, whose name contains
            `labelTrainIds` or `labelIds`.

    Returns:
        IoU and iIoU in per cent; iIoU is NaN if there are no files `*_instanceIds.png` next to the label maps.

    Raises:
        ValueError: There are no files `*_labelIds.png` next to the label maps.
    """
    script = _script()
    labels = [label.replace("labelTrainIds", "labelIds") for _, label in pairs]
    missing = [label for label in labels if "labelIds" not in os.path.basename(label) or not os.path.isfile(label)]
    if missing:
        raise ValueError(f"{missing[0]} is missing; wanted Cityscapes' *_gtFine_labelIds.png next to the label maps")
    args = copy.copy(script.args)
    args.quiet, args.JSONOutput = True, False
    args.evalInstLevelScore = all(os.path.isfile(label.replace("labelIds", "instanceIds")) for label in labels)
    if not args.evalInstLevelScore:
        logger.warning("There is no iIoU, since there are no files *_instanceIds.png next to the label maps")
    found = script.evaluateImgLists([prediction for prediction, _ in pairs], labels, args)
    return {name: 100 * float(found[key]) for name, key in _OFFICIAL.items()}


class _Numpy(ModuleType):
    """numpy with `in1d`, which version 2.4 dropped and cityscapesscripts 2.3 calls; the script reshapes its result."""

    def __getattr__(self, name: str) -> Any:
        return np.isin if name == "in1d" else getattr(np, name)


def _script() -> ModuleType:
    try:
        import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as script
    except ImportError as error:
        raise ValueError(
            "the official Cityscapes evaluation is not installed; wanted its package: pip install cityscapesscripts"
        ) from error
    vars(script)["np"] = _Numpy("numpy")
    return script
