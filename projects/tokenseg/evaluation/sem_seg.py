"""Semantic segmentation metrics: Detectron2's evaluator with one definition of mIoU on every version of it."""

import csv
import json
import logging
import os
from collections import OrderedDict

import numpy as np
from detectron2.evaluation import SemSegEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ..data.labels import check_label_range, read_class_ids
from ..datasets.records import load_records

logger = logging.getLogger(__name__)


def confusion_matrix(prediction: np.ndarray, label: np.ndarray, *, num_classes: int, ignore_label: int) -> np.ndarray:
    """(K, K) counts of pixels, [predicted, labelled], of all pixels that are not ignored."""
    valid = label != ignore_label
    pairs = prediction[valid].astype(np.int64) * num_classes + label[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def sem_seg_metrics(confusion: np.ndarray, class_names: list[str]) -> dict[str, float]:
    """Metrics in per cent from a (K, K) confusion matrix [predicted, labelled].

    IoU and accuracy of a class are defined where the ground truth has it, and NaN elsewhere; the means run over those
    classes alone. The IoU's denominator counts false predictions of every class.
    """
    correct = confusion.diagonal().astype(float)
    labelled, predicted = confusion.sum(axis=0).astype(float), confusion.sum(axis=1)
    present = labelled > 0
    labelled[~present] = np.nan
    iou, accuracy = correct / (labelled + predicted - correct), correct / labelled
    total = np.nansum(labelled) if present.any() else np.nan
    metrics = {
        "mIoU": iou[present].sum() / present.sum() if present.any() else np.nan,
        "fwIoU": np.nansum(iou * labelled) / total,
        "mACC": accuracy[present].sum() / present.sum() if present.any() else np.nan,
        "pACC": correct.sum() / total,
    }
    metrics |= {f"IoU-{name}": value for name, value in zip(class_names, iou, strict=True)}
    metrics |= {f"ACC-{name}": value for name, value in zip(class_names, accuracy, strict=True)}
    return {name: 100 * float(value) for name, value in metrics.items()}


class ConfusionEvaluator(SemSegEvaluator):
    """SemSegEvaluator that keeps a confusion matrix and nothing else, and logs a table per class.

    Detectron2's versions differ in mIoU (0.5 lets classes that the ground truth lacks change it), and both keep every
    prediction and, on main, boundaries too. `save_predictions` writes Detectron2's prediction file all the same.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        save_predictions: bool = False,
    ) -> None:
        """
        Args:
            dataset_name: registered data set whose metadata has `stuff_classes` and `ignore_label`.
            distributed: whether results of all processes are joined.
            output_dir: where `sem_seg_per_class.csv`, and the predictions if wanted, are written.
            save_predictions: write `sem_seg_predictions.json`, run-length codes of every class of every image.
        """
        super().__init__(dataset_name, distributed=distributed, output_dir=output_dir)
        if save_predictions and not output_dir:
            raise ValueError("save_predictions is on; wanted an output_dir to write them to, got none")
        self._save_predictions = save_predictions
        self._records = {record["file_name"]: record for record in load_records(dataset_name)}

    def reset(self) -> None:
        self._confusion = np.zeros((self._num_classes, self._num_classes), dtype=np.int64)
        self._predictions = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: with `file_name`, by which the label map is found.
            outputs: with `sem_seg` (K, H, W) scores.

        Raises:
            ValueError: a prediction and its label map differ in size, or a label is out of range, naming the file; or
                scores of another number of classes than the data set's.
        """
        for record, output in zip(inputs, outputs, strict=True):
            if len(output["sem_seg"]) != self._num_classes:
                raise ValueError(
                    f"the model gives scores of {len(output['sem_seg'])} classes; "
                    f"wanted the {self._num_classes} of '{self._dataset_name}'"
                )
            # indices of max, not argmax: the same values, and much faster on the CPU
            prediction = output["sem_seg"].max(dim=0).indices.to(self._cpu_device).numpy()
            truth = self._records[record["file_name"]]
            path, label = truth["sem_seg_file_name"], read_class_ids(truth)
            if label.shape != prediction.shape:
                raise ValueError(f"label map {path} has size {label.shape}, the prediction {prediction.shape}")
            check_label_range(label, num_classes=self._num_classes, ignore_label=self._ignore_label, path=path)
            self._confusion += confusion_matrix(
                prediction, label, num_classes=self._num_classes, ignore_label=self._ignore_label
            )
            if self._save_predictions:
                self._predictions += self.encode_json_sem_seg(prediction, record["file_name"])

    def evaluate(self) -> OrderedDict | None:
        """`{"sem_seg": {"mIoU": ..., "IoU-<class>": ..., ...}}` in per cent on the main process, None on others."""
        confusion = self._confusion
        if self._distributed:
            comm.synchronize()
            confusion = sum(comm.all_gather(confusion))
            self._predictions = [p for part in comm.all_gather(self._predictions) for p in part]
            if not comm.is_main_process():
                return None
        names = list(self._class_names)
        metrics = sem_seg_metrics(confusion, names)
        self._log(metrics, confusion, names)
        if self._output_dir:
            self._write(metrics, confusion, names)
        return OrderedDict(sem_seg=metrics)

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
            logger.info("Not in the ground truth, and in no mean: %s", ", ".join(absent))
        logger.info("mIoU: %.1f (mean over %d classes)", metrics["mIoU"], len(rows))

    def _write(self, metrics: dict[str, float], confusion: np.ndarray, names: list[str]) -> None:
        os.makedirs(self._output_dir, exist_ok=True)
        with open(os.path.join(self._output_dir, "sem_seg_per_class.csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "IoU", "accuracy", "labelled_pixels", "predicted_pixels"])
            for place, name in enumerate(names):
                pixels = confusion[:, place].sum(), confusion[place].sum()
                writer.writerow([name, metrics[f"IoU-{name}"], metrics[f"ACC-{name}"], *pixels])
        if self._save_predictions:
            with open(os.path.join(self._output_dir, "sem_seg_predictions.json"), "w") as file:
                json.dump(self._predictions, file)
