"""Semantic segmentation metrics, whose definition does not depend on the version of Detectron2."""

import csv
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ..data.labels import check_label_range, read_class_ids
from ..plain_text import csv_text
from .image_counts import IMAGE_COUNTS, ImageCounts, class_ious, mean_of_classes
from .pixel_metrics import PIXEL_METRICS, PixelMetrics
from .token_metrics import ClassMasks, TokenMetrics

logger = logging.getLogger(__name__)

# The files that an evaluation writes to its output folder: one with a row per class, and the confusion matrix.
PER_CLASS, CONFUSION = "sem_seg_per_class.csv", "sem_seg_confusion.csv"
# The possible values of the argument `metrics` of `ConfusionEvaluator`.
FURTHER_METRICS = (*PIXEL_METRICS, "tokens")


def confusion_matrix(prediction: np.ndarray, label: np.ndarray, *, num_classes: int, ignore_label: int) -> np.ndarray:
    """Count the pixels that are not ignored by predicted and labelled class, (K, K) [predicted, labelled]."""
    valid = label != ignore_label
    pairs = prediction[valid].astype(np.int64) * num_classes + label[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def sem_seg_metrics(confusion: np.ndarray, class_names: list[str]) -> dict[str, float]:
    """Compute the metrics in per cent from a confusion matrix (K, K) [predicted, labelled].

    IoU and accuracy are NaN for classes that do not occur in the ground truth, and means exclude these classes. A pixel
    that is wrongly predicted as such a class still lowers the IoU of its own class.
    """
    correct = confusion.diagonal().astype(float)
    labelled, predicted = confusion.sum(axis=0).astype(float), confusion.sum(axis=1)
    iou = class_ious(correct, predicted, labelled)
    accuracy = correct / np.where(labelled > 0, labelled, np.nan)
    total = labelled.sum() if labelled.any() else np.nan
    metrics = {
        "mIoU": mean_of_classes(iou),
        "fwIoU": np.nansum(iou * labelled) / total,
        "mACC": mean_of_classes(accuracy),
        "pACC": correct.sum() / total,
    }
    metrics |= {f"IoU-{name}": value for name, value in zip(class_names, iou, strict=True)}
    metrics |= {f"ACC-{name}": value for name, value in zip(class_names, accuracy, strict=True)}
    return {name: 100 * float(value) for name, value in metrics.items()}


class ConfusionEvaluator(SemSegEvaluator):
    """A SemSegEvaluator that keeps a confusion matrix and three counts per image and class, and logs a table.

    In Detectron2, the mIoU depends on the version: in 0.5 it is affected by classes that do not occur in the ground
    truth. Moreover, all versions keep every prediction in memory, and the main branch also keeps boundaries. Here,
    predictions are kept only with `save_predictions`, which writes Detectron2's prediction file.

    Label maps are read from the paths in the inputs, so that an evaluation does not load the records of the data set
    again. Since Detectron2's constructor loads them, the same evaluator is used for all evaluations of a run.

    Attributes:
        wants: The outputs that the further metrics need from a model besides class ids.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        save_predictions: bool = False,
        metrics: Sequence[str] = (),
    ) -> None:
        """
        Args:
            dataset_name: The name of a registered data set, whose metadata has `stuff_classes` and `ignore_label`.
            distributed: Whether to combine the results of all processes.
            output_dir: The folder to which `sem_seg_per_class.csv`, `sem_seg_confusion.csv`, `sem_seg_per_image.npz`
                (see `ImageCounts`), the files of further metrics and, optionally, the predictions are written; None
                writes no files.
            save_predictions: Whether to write Detectron2's `sem_seg_predictions.json`, which contains the run-length
                encoded mask of every class in every image.
            metrics: The names of further metrics: `boundary`, `size`, `frequency` and `calibration` (see `BoundaryIoU`,
                `SizeMetric`, `FrequencyMetric` and `CalibrationMetric`), and `tokens` (`TokenMetrics` with classes).
                Each has results under its own name and, except for `tokens`, a file.

        Raises:
            ValueError: The metadata lacks the classes or the ignore label, `save_predictions` is set without an
                `output_dir`, or a metric is unknown or given twice.
        """
        unknown = [name for name in metrics if name not in FURTHER_METRICS]
        if unknown or len(set(metrics)) < len(metrics):
            raise ValueError(f"metrics are {list(metrics)}; wanted some of {', '.join(FURTHER_METRICS)}, each once")
        if save_predictions and not output_dir:
            raise ValueError("save_predictions is set without an output_dir; wanted an output_dir to write them to")
        metadata = MetadataCatalog.get(dataset_name)
        missing = [key for key in ("stuff_classes", "ignore_label") if metadata.get(key) is None]
        if missing:
            raise ValueError(
                f"the metadata of data set '{dataset_name}' has no {' and no '.join(missing)}; wanted stuff_classes "
                "and ignore_label"
            )
        super().__init__(dataset_name, distributed=distributed, output_dir=output_dir)
        self._save_predictions = save_predictions
        self._further = PixelMetrics(
            [name for name in metrics if name in PIXEL_METRICS],
            class_names=metadata.stuff_classes,
            ignore_label=metadata.ignore_label,
        )
        masks = ClassMasks(ignore_label=metadata.ignore_label)
        self._tokens = TokenMetrics(masks=masks, distributed=distributed) if "tokens" in metrics else None
        self.wants = self._further.wants | (self._tokens.wants if self._tokens else frozenset())

    def reset(self) -> None:
        self._confusion = np.zeros((self._num_classes, self._num_classes), dtype=np.int64)
        self._images: list[tuple[str, np.ndarray]] = []
        self._predictions: list[dict] = []
        self._further.reset()
        if self._tokens:
            self._tokens.reset()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: The records from the mapper, with `file_name`, `sem_seg_file_name` and, if the stored ids are not
                class ids, `sem_seg_id_map`.
            outputs: The outputs of the model for these records: `class_ids` (H, W) or the scores `sem_seg` (K, H, W),
                and the outputs in `wants`.

        Raises:
            ValueError: A prediction and its label map differ in size, a label is out of range, an input names no label
                map, the number of classes differs from that of the data set, or an output that a metric needs is
                missing.
        """
        if self._tokens:
            self._tokens.process(inputs, outputs)
        for record, output in zip(inputs, outputs, strict=True):
            prediction = self._class_ids(output)
            path, label = record["sem_seg_file_name"], read_class_ids(record)
            if label.shape != prediction.shape:
                raise ValueError(
                    f"label map {path} has size {label.shape}, its prediction {prediction.shape}; wanted equal sizes"
                )
            check_label_range(label, num_classes=self._num_classes, ignore_label=self._ignore_label, path=path)
            confusion = confusion_matrix(
                prediction, label, num_classes=self._num_classes, ignore_label=self._ignore_label
            )
            self._confusion += confusion
            self._further.update(prediction, label, output)
            if self._output_dir:
                sums = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
                self._images.append((path, np.array(sums, dtype=np.uint32)))
            if self._save_predictions:
                self._predictions += self.encode_json_sem_seg(prediction, record["file_name"])

    def _class_ids(self, output: dict) -> np.ndarray:
        if "class_ids" in output:
            ids = output["class_ids"].cpu().numpy()
            if ids.max() >= self._num_classes:
                raise ValueError(f"the model predicts the class id {ids.max()}; {self._wanted}")
            return ids
        if len(output["sem_seg"]) != self._num_classes:
            raise ValueError(f"the model predicts scores of {len(output['sem_seg'])} classes; {self._wanted}")
        # The indices of `max` equal `argmax` and are computed much faster on the CPU.
        return output["sem_seg"].max(dim=0).indices.cpu().numpy()

    @property
    def _wanted(self) -> str:
        return f"wanted the classes of '{self._dataset_name}', 0 to {self._num_classes - 1}"

    def metric_names(self) -> list[str]:
        """Return the names `<task>/<name>` of the metrics from `evaluate`."""
        empty = np.zeros((self._num_classes, self._num_classes))
        with np.errstate(invalid="ignore"):
            names = [f"sem_seg/{name}" for name in sem_seg_metrics(empty, list(self._class_names))]
        names += [f"{task}/{name}" for task, values in self._further.results().items() for name in values]
        return names + (self._tokens.metric_names() if self._tokens else [])

    def evaluate(self) -> OrderedDict | None:
        """Compute the metrics, log them and write the files.

        Returns:
            In the main process, `{"sem_seg": {"mIoU": ..., "IoU-<class>": ..., ...}}` in per cent, and the results of
            each further metric under its name; None in other processes.
        """
        confusion = self._confusion
        tokens: Mapping = (self._tokens.evaluate() if self._tokens else None) or {}
        if self._distributed:
            comm.synchronize()
            confusion = sum(comm.all_gather(confusion))
            self._images = [image for part in comm.all_gather(self._images) for image in part]
            self._predictions = [p for part in comm.all_gather(self._predictions) for p in part]
            if own := self._further.sums():
                self._further.add_up(comm.all_gather(own))
            if not comm.is_main_process():
                return None
        names = list(self._class_names)
        metrics = sem_seg_metrics(confusion, names)
        self._log(metrics, confusion, names)
        if self._output_dir:
            self._write(metrics, confusion, names)
        return OrderedDict(sem_seg=metrics, **self._further.results(), **tokens)

    def _log(self, metrics: dict[str, float], confusion: np.ndarray, names: list[str]) -> None:
        rows = [
            (name, metrics[f"IoU-{name}"], metrics[f"ACC-{name}"])
            for name, count in zip(names, confusion.sum(axis=0), strict=True)
            if count
        ]
        table = tabulate(rows, headers=["class", "IoU", "accuracy"], floatfmt=".1f", tablefmt="pipe")
        logger.info("%s, per class in %%:\n%s", self._dataset_name, table)
        absent = [name for name, count in zip(names, confusion.sum(axis=0), strict=True) if not count]
        if absent:
            logger.info("Classes that do not occur in the ground truth (means exclude them): %s", ", ".join(absent))
        if len(rows) > 1:
            logger.info("mIoU: %.1f (mean over %d classes)", metrics["mIoU"], len(rows))
        elif rows:
            logger.warning(
                "mIoU: %.1f, which is meaningless, since the label maps contain only the class %s",
                metrics["mIoU"],
                rows[0][0],
            )
        else:
            logger.warning("mIoU: undefined, since every pixel of the label maps is ignored")

    def _write(self, metrics: dict[str, float], confusion: np.ndarray, names: list[str]) -> None:
        os.makedirs(self._output_dir, exist_ok=True)
        with open(os.path.join(self._output_dir, PER_CLASS), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "IoU", "accuracy", "labelled_pixels", "predicted_pixels"])
            for place, name in enumerate(names):
                pixels = confusion[:, place].sum(), confusion[place].sum()
                writer.writerow([csv_text(name), metrics[f"IoU-{name}"], metrics[f"ACC-{name}"], *pixels])
        with open(os.path.join(self._output_dir, CONFUSION), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["predicted / labelled", *map(csv_text, names)])
            writer.writerows([csv_text(name), *row] for name, row in zip(names, confusion.tolist(), strict=True))
        self._further.write(Path(self._output_dir))
        ImageCounts.of_images(self._images, names).write(os.path.join(self._output_dir, IMAGE_COUNTS))
        if self._save_predictions:
            with open(os.path.join(self._output_dir, "sem_seg_predictions.json"), "w") as file:
                json.dump(self._predictions, file)
