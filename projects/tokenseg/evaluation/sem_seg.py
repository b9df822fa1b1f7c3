"""Semantic segmentation metrics, with one definition of mIoU on every version of Detectron2."""

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

# The files that an evaluation leaves in its output folder: a row for each class, and the confusion matrix.
PER_CLASS, CONFUSION = "sem_seg_per_class.csv", "sem_seg_confusion.csv"
# What `ConfusionEvaluator.metrics` may name.
FURTHER_METRICS = (*PIXEL_METRICS, "tokens")


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
    """SemSegEvaluator that keeps a confusion matrix and three counts for each image and class, and logs a table.

    Detectron2's versions differ in mIoU (0.5 lets classes that the ground truth lacks change it), and both keep every
    prediction and, on main, boundaries too. `save_predictions` writes Detectron2's prediction file all the same. The
    label maps are those that the inputs name, so that an evaluation does not list the data set's files once more;
    Detectron2's constructor does it once, which is why one evaluator serves all evaluations of a run.

    Attributes:
        wants: What the further metrics want of a model beside class ids.
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
            dataset_name: The registered data set whose metadata has `stuff_classes` and `ignore_label`.
            distributed: Whether the results of all processes are joined.
            output_dir: The folder in which `sem_seg_per_class.csv`, `sem_seg_confusion.csv`, `sem_seg_per_image.npz`
                (see `ImageCounts`) and, if wanted, the predictions are written.
            save_predictions: Whether to write Detectron2's `sem_seg_predictions.json`, run-length codes of every class
                of every image.
            metrics: Further metrics, each with results under its own name and a file: `boundary`, `size`, `frequency`,
                `calibration` (see `BoundaryIoU`, `SizeMetric`, `FrequencyMetric`, `CalibrationMetric`), and `tokens`,
                which is `TokenMetrics` by classes and has no file.

        Raises:
            ValueError: The metadata lacks the classes or the ignore label, predictions have no folder to go to, or
                there is no metric of a name.
        """
        unknown = [name for name in metrics if name not in FURTHER_METRICS]
        if unknown or len(set(metrics)) < len(metrics):
            raise ValueError(f"metrics are {list(metrics)}; wanted some of {', '.join(FURTHER_METRICS)}, each once")
        if save_predictions and not output_dir:
            raise ValueError("save_predictions is on; wanted an output_dir to write them to, got none")
        metadata = MetadataCatalog.get(dataset_name)
        missing = [key for key in ("stuff_classes", "ignore_label") if metadata.get(key) is None]
        if missing:
            raise ValueError(
                f"the metadata of data set '{dataset_name}' has no {' and no '.join(missing)}; wanted both"
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
            inputs: The records that the mapper handed on, with `file_name`, `sem_seg_file_name` and, where stored ids
                are no class ids, `sem_seg_id_map`.
            outputs: What the model gave for them, with `class_ids` (H, W), or else with `sem_seg` (K, H, W) scores, and
                with what the further metrics want.

        Raises:
            ValueError: A prediction and its label map differ in size, or a label is out of range, naming the file; or
                scores of another number of classes than the data set's; or an input that names no label map; or
                outputs without what a metric wants.
        """
        if self._tokens:
            self._tokens.process(inputs, outputs)
        for record, output in zip(inputs, outputs, strict=True):
            prediction = self._class_ids(output)
            path, label = record["sem_seg_file_name"], read_class_ids(record)
            if label.shape != prediction.shape:
                raise ValueError(f"label map {path} has size {label.shape}, the prediction {prediction.shape}")
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
                raise ValueError(f"the model gives the class id {ids.max()}; {self._wanted}")
            return ids
        if len(output["sem_seg"]) != self._num_classes:
            raise ValueError(f"the model gives scores of {len(output['sem_seg'])} classes; {self._wanted}")
        # indices of max, not argmax: the same values, and much faster on the CPU
        return output["sem_seg"].max(dim=0).indices.cpu().numpy()

    @property
    def _wanted(self) -> str:
        return f"wanted those of '{self._dataset_name}', 0 to {self._num_classes - 1}"

    def metric_names(self) -> list[str]:
        """The names of what `evaluate` gives, `<task>/<name>`."""
        nothing = np.zeros((self._num_classes, self._num_classes))
        with np.errstate(invalid="ignore"):
            names = [f"sem_seg/{name}" for name in sem_seg_metrics(nothing, list(self._class_names))]
        names += [f"{task}/{name}" for task, values in self._further.results().items() for name in values]
        return names + (self._tokens.metric_names() if self._tokens else [])

    def evaluate(self) -> OrderedDict | None:
        """`{"sem_seg": {"mIoU": ..., "IoU-<class>": ..., ...}}` in per cent on the main process, None on others; then
        the results of each further metric under its name."""
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
            logger.info("Not in the ground truth, and in no mean: %s", ", ".join(absent))
        if len(rows) > 1:
            logger.info("mIoU: %.1f (mean over %d classes)", metrics["mIoU"], len(rows))
        elif rows:
            told = "of one class alone, %s: the label maps hold no other, so that this says nothing"
            logger.warning(f"mIoU: %.1f, {told}", metrics["mIoU"], rows[0][0])
        else:
            logger.warning("mIoU: none, since every pixel of the label maps is ignored")

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
