"""Each further metric compared with numbers computed by hand or with a simple implementation."""

import csv
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from PIL import Image
from scipy import ndimage

from tokenseg.evaluation.boundary import BoundaryIoU, near_contours
from tokenseg.evaluation.by_frequency import FrequencyMetric, frequency_groups
from tokenseg.evaluation.by_size import SizeMetric, segment_overlaps
from tokenseg.evaluation.calibration import CalibrationMetric
from tokenseg.evaluation.combined import combined_evaluators
from tokenseg.evaluation.pixel_metrics import PixelMetrics
from tokenseg.evaluation.sem_seg import ConfusionEvaluator

NAMES = ["a", "b", "c"]


def counted(kind, *images):
    """The metric after some images, each given as its prediction, label and, optionally, confidence."""
    metric = kind(class_names=NAMES)
    for image in images:
        metric.update(*map(np.array, image))
    return metric


def blobs(seed, size=(60, 80), classes=3):
    """A map of ids in blobs of several pixels."""
    noise = np.random.default_rng(seed).standard_normal((classes, *size))
    return ndimage.gaussian_filter(noise, (0, 4, 4)).argmax(axis=0)


def boundary_iou_by_erosion(images, class_id, ignored):
    """The boundary of one mask as in the paper's reference: what repeated erosion by a 3x3 square removes."""
    both = either = 0
    for prediction, label in images:
        steps = max(1, round(0.02 * math.hypot(*label.shape)))
        valid = label != ignored
        rims = []
        for ids in (prediction, label):
            mask = (ids == class_id) & valid
            rims.append(mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=steps))
        both, either = both + (rims[0] & rims[1]).sum(), either + (rims[0] | rims[1]).sum()
    return 100 * both / either


def test_boundary_iou_equals_erosion_class_by_class():
    images = [(blobs(2 * place), blobs(2 * place + 1, classes=2 + place)) for place in range(2)]
    for _, label in images:
        label[10:20, 30:50] = 255  # in the middle of blobs
    metrics = PixelMetrics(["boundary"], class_names=NAMES, ignore_label=255)
    for prediction, label in images:
        metrics.update(prediction, label, {})
    wanted = [boundary_iou_by_erosion(images, class_id, 255) for class_id in range(3)]
    assert metrics.results()["boundary"]["mIoU"] == pytest.approx(np.mean(wanted))


def test_contours_are_as_wide_as_the_distance():
    ids = np.zeros((9, 9), dtype=np.int64)
    assert near_contours(ids, 2).sum() == 81 - 5 * 5  # the border of the image is a contour
    ids[4, 4] = 1
    assert near_contours(ids, 1).sum() == 81 - 7 * 7 + 9


def test_a_wrong_rim_costs_more_than_in_miou():
    label, prediction = np.zeros((2, 40, 40), dtype=np.int64)
    label[10:30, 10:30] = 1
    prediction[11:29, 11:29] = 1  # a rim of one pixel, as wide as the boundary, is missed
    metric = counted(BoundaryIoU, (prediction, label))
    # 0.02 x 56.6 = 1 pixel. Class b: no pixel in both rims; a: the image's border in both, and the hole's rim in each
    border, holes = 40**2 - 38**2, (22**2 - 20**2, 20**2 - 18**2)
    assert metric.results()["mIoU"] == pytest.approx(50 * border / (border + sum(holes)))
    assert [row[1] for row in metric.rows()[1:3]] == pytest.approx([100 * border / (border + sum(holes)), 0])


def test_segments_by_hand():
    labelled = np.array([[1, 1, 0, 1, 1, 0, 0, 0, 1]])
    predicted = np.array([[0, 1, 1, 1, 0, 0, 1, 0, 0]])
    # One predicted segment touches two objects. It covers a pixel of each, and the pixel between them, which lowers
    # the IoU of both.
    areas, correct, excess = segment_overlaps(predicted > 0, labelled > 0)
    assert (areas.tolist(), correct.tolist(), excess.tolist()) == ([2, 2, 1], [1, 1, 0], [1, 1, 0])


def test_sizes_by_hand():
    label = np.full((100, 140), -1)
    label[:96, :96], label[:32, 100:132], label[50:60, 100:110] = 0, 0, 1  # 96^2, 32^2 and 100 pixels
    prediction = label.copy()
    prediction[:48, :96] = 1
    metric = counted(SizeMetric, (prediction, label))
    wanted = {"ACC_small": 100, "ACC_medium": 100, "ACC_large": 50}
    wanted |= {"IoU_small": 100, "IoU_medium": 100, "IoU_large": 50}
    assert metric.results() == wanted
    assert metric.rows()[1:] == [
        ["small", 0, 1, 1, 100, 100, 100],
        ["medium", 1024, 1, 1, 1024, 100, 100],
        ["large", 9216, 1, 1, 9216, 50, 50],
    ]


def test_sizes_are_means_over_classes():
    # class a: two segments with IoU 1 and 0; class b: one with IoU 1/2, as its predicted segment has a pixel too many
    label, prediction = [[0, -1, 0, -1, 1, 2]], [[0, -1, 1, -1, 1, 1]]
    got = counted(SizeMetric, (prediction, label)).results()
    assert got["IoU_small"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 0) / 3)
    assert got["ACC_small"] == pytest.approx(100 * (1 / 2 + 1 + 0) / 3) and math.isnan(got["IoU_large"])


def test_thirds_of_the_classes():
    images, pixels = np.array([1, 9, 9, 0, 2]), np.array([50, 1, 2, 0, 3])
    assert [group.tolist() for group in frequency_groups(images, pixels)] == [[2, 1], [4], [0]]
    assert [len(group) for group in frequency_groups(np.array([0, 3]), np.array([0, 1]))] == [1, 0, 0]


def test_frequency_by_hand():
    metric = counted(FrequencyMetric, ([[0, 0, 1]], [[0, 1, 1]]), ([[0, 0, 2]], [[0, 0, -1]]))
    assert metric.results() == {"mIoU_head": 75, "mIoU_body": 50, "mIoU_tail": pytest.approx(math.nan, nan_ok=True)}
    assert metric.rows()[1:] == [["a", "head", 2, 3, 75], ["b", "body", 1, 2, 50]]


def test_calibration_by_hand():
    confidence = [[0.9, 0.95, 0.5, 0.5, 1.0]]
    metric = counted(CalibrationMetric, ([[0, 0, 1, 1, 1]], [[0, 1, 1, 0, -1]], confidence))
    # bins (13/15, 14/15], (14/15, 1] and (7/15, 8/15] with 1, 1 and 2 pixels; the last pixel is ignored
    got = metric.results()
    assert got["ECE"] == pytest.approx(100 * (0.1 + 0.95 + 0) / 4)
    assert got["confidence"] == pytest.approx(100 * 2.85 / 4) and got["accuracy"] == pytest.approx(50)
    assert metric.rows()[8][2:] == [2, 0.5, 0.5] and math.isnan(metric.rows()[1][3])


def test_bins_are_closed_above():
    metric = counted(CalibrationMetric, ([[0, 0, 0]], [[0, 0, 0]], [[0.0, 1.0, 0.2]]))
    assert np.flatnonzero(metric.sums["pixels"]).tolist() == [0, 2, 14]  # 0.2 = 3/15 ends the third bin


ALL = ["boundary", "size", "frequency", "calibration"]


def images_of(name):
    records = DatasetCatalog.get(name)
    outputs = []
    for place, record in enumerate(records):
        size = Image.open(record["sem_seg_file_name"]).size[::-1]
        outputs.append({"class_ids": torch.from_numpy(blobs(place, size)), "confidence": torch.rand(size)})
    return records, outputs


def test_metrics_of_an_evaluation(toy_dataset, tmp_path, monkeypatch):
    records, outputs = images_of(toy_dataset)
    alone, first, second = (
        ConfusionEvaluator(dataset_name=toy_dataset, output_dir=str(tmp_path / name), metrics=ALL) for name in "abc"
    )
    for evaluator, part in ((alone, slice(None)), (first, slice(4, None)), (second, slice(4))):
        evaluator.reset()
        evaluator.process(records[part], outputs[part])
    wanted = alone.evaluate()
    assert list(wanted) == ["sem_seg", *ALL] and wanted["calibration"]["ECE"] > 0
    assert alone.metric_names() == [f"{task}/{name}" for task, values in wanted.items() for name in values]
    theirs = iter([second._confusion, second._images, second._predictions, second._further.sums()])
    monkeypatch.setattr(comm, "all_gather", lambda data: [data, next(theirs)])
    got = first.evaluate()
    for task in wanted:
        assert got[task] == pytest.approx(wanted[task], nan_ok=True)
    rows = list(csv.DictReader((tmp_path / "a/sem_seg_frequency.csv").open()))
    assert [row["group"] for row in rows] == ["head", "body", "tail"]
    assert float(rows[0]["IoU"]) == wanted["frequency"]["mIoU_head"]


def test_files_of_other_weights_go(toy_dataset, tmp_path):
    records, outputs = images_of(toy_dataset)
    for metrics, left in ((["size"], ["sem_seg_size.csv"]), ([], [])):
        evaluator = ConfusionEvaluator(dataset_name=toy_dataset, output_dir=str(tmp_path), metrics=metrics)
        evaluator.reset()
        evaluator.process(records, outputs)
        assert ("size" in evaluator.evaluate()) == bool(metrics)
        assert [path.name for path in tmp_path.glob("sem_seg_size.csv")] == left


def test_what_is_wanted_of_the_model(toy_dataset):
    evaluators = [ConfusionEvaluator(dataset_name=toy_dataset, metrics=names) for names in (ALL[:3], ALL, ["tokens"])]
    assert [one.wants for one in evaluators] == [set(), {"confidence"}, {"regions"}]
    assert combined_evaluators(a=evaluators[1], b=evaluators[2]).wants == {"confidence", "regions"}
    with pytest.raises(ValueError, match=r"two evaluators compute sem_seg/ACC-blue"):
        combined_evaluators(a=evaluators[1], b=evaluators[2]).metric_names()
    records, outputs = images_of(toy_dataset)
    evaluators[1].reset()
    with pytest.raises(
        ValueError, match=r"outputs are class_ids, but the metrics boundary, .* also need confidence; wanted"
    ):
        evaluators[1].process(records[:1], [{"class_ids": outputs[0]["class_ids"]}])


@pytest.mark.parametrize("names", [["boundry"], ["size", "size"]])
def test_unknown_metrics(toy_dataset, names):
    with pytest.raises(ValueError, match=r"metrics are .* wanted some of boundary, size, frequency, calib"):
        ConfusionEvaluator(dataset_name=toy_dataset, metrics=names)


def test_tokens_beside_miou(toy_dataset):
    records = DatasetCatalog.get(toy_dataset)[:1]
    evaluator = ConfusionEvaluator(dataset_name=toy_dataset, metrics=["tokens"])
    evaluator.reset()
    # Columns 0 to 10 of 32 are a region of the first class, and the rest is a region of the other classes.
    regions = torch.zeros(2, 1, 32)
    regions[0, 0, :11], regions[1, 0, 11:] = 1, 1
    output = {"class_ids": torch.zeros(32, 32, dtype=torch.int64), "regions": regions, "region_cell": (32.0, 1.0)}
    evaluator.process(records, [output])
    results = evaluator.evaluate()
    assert results["tokens_class"]["S_C"] == pytest.approx(-sum(p * math.log(p) for p in (11 / 21, 10 / 21)) / 2)
    assert evaluator.metric_names()[-4:] == [f"tokens_class/{name}" for name in results["tokens_class"]]
