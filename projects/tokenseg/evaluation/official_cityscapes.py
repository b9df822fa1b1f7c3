"""Cityscapes' own evaluation beside ours, by the package cityscapesscripts."""

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

# Name of a metric -> that of Cityscapes' result.
_OFFICIAL = {
    "IoU": "averageScoreClasses",
    "iIoU": "averageScoreInstClasses",
    "IoU_sup": "averageScoreCategories",
    "iIoU_sup": "averageScoreInstCategories",
}


class OfficialCityscapesEvaluator(ConfusionEvaluator):
    """`ConfusionEvaluator` that also writes label ids as PNGs, in the server's format, and has Cityscapes' own script
    count them: `cityscapes/IoU`, over classes and (`_sup`) categories, and iIoU, which weighs instances by their size.

    An override puts it into a config:
    `dataloader.evaluator._target_=tokenseg.evaluation.official_cityscapes.OfficialCityscapesEvaluator`.
    The PNGs stay in the folder `cityscapes` of `output_dir`, which all processes have to share.
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
            dataset_name: The registered data set of Cityscapes, such as `cityscapes_fine_sem_seg_val`.
            output_dir: The folder that is written to.
            distributed: As in `ConfusionEvaluator`.
            save_predictions: As in `ConfusionEvaluator`.
            metrics: As in `ConfusionEvaluator`.

        Raises:
            ValueError: The package cityscapesscripts is missing, or as in `ConfusionEvaluator`.
        """
        _script()
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
        """Count and write; arguments and errors are those of `ConfusionEvaluator`."""
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
        """What `ConfusionEvaluator` gives, and `cityscapes` in per cent.

        Raises:
            ValueError: There are no label ids beside the label maps.
        """
        results, pairs = super().evaluate(), self._pairs
        if self._distributed:
            pairs = [pair for part in comm.all_gather(pairs) for pair in part]
        if results is not None:
            results["cityscapes"] = official_metrics(pairs)
        return results


def official_metrics(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Have Cityscapes' script count predictions.

    Args:
        pairs: The path of each prediction's PNG of label ids, and of its label map, whose name has `labelTrainIds` or
            `labelIds`.

    Returns:
        IoU and iIoU in per cent; iIoU is NaN without the files `*_instanceIds.png` beside the label maps.

    Raises:
        ValueError: There are no label ids beside the label maps.
    """
    script = _script()
    labels = [label.replace("labelTrainIds", "labelIds") for _, label in pairs]
    missing = [label for label in labels if "labelIds" not in os.path.basename(label) or not os.path.isfile(label)]
    if missing:
        raise ValueError(f"{missing[0]} is missing; wanted Cityscapes' *_gtFine_labelIds.png beside its label maps")
    args = copy.copy(script.args)
    args.quiet, args.JSONOutput = True, False
    args.evalInstLevelScore = all(os.path.isfile(label.replace("labelIds", "instanceIds")) for label in labels)
    if not args.evalInstLevelScore:
        logger.warning("No *_instanceIds.png beside the label maps: there is no iIoU")
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
            "Cityscapes' own evaluation is not installed; wanted the package: pip install cityscapesscripts"
        ) from error
    vars(script)["np"] = _Numpy("numpy")
    return script
