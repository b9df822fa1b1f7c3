import csv
import json
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from detectron2.utils import comm
from PIL import Image

from tokenseg.data.mapper import SemSegMapper
from tokenseg.evaluation.image_counts import ImageCounts
from tokenseg.evaluation.sem_seg import ConfusionEvaluator, confusion_matrix, sem_seg_metrics


def metrics_of(prediction, label, num_classes):
    confusion = confusion_matrix(np.array(prediction), np.array(label), num_classes=num_classes, ignore_label=255)
    return sem_seg_metrics(confusion, [str(k) for k in range(num_classes)])


def inputs_and_scores(name, num_classes=3):
    """The records of the toy data set, and random scores for them."""
    records = DatasetCatalog.get(name)
    sizes = [Image.open(record["sem_seg_file_name"]).size[::-1] for record in records]
    return records, [{"sem_seg": torch.rand(num_classes, *size)} for size in sizes]


def evaluate(evaluator, records, outputs):
    evaluator.reset()
    evaluator.process(records, outputs)
    return evaluator.evaluate()["sem_seg"]


def test_two_classes_by_hand():
    metrics = metrics_of([[0, 0, 1, 1], [0, 1, 1, 0]], [[0, 0, 0, 1], [0, 1, 1, 255]], 2)
    assert metrics["IoU-0"] == pytest.approx(100 * 3 / 4) and metrics["IoU-1"] == pytest.approx(100 * 3 / 4)
    assert metrics["ACC-0"] == pytest.approx(100 * 3 / 4) and metrics["ACC-1"] == pytest.approx(100)
    assert metrics["mACC"] == pytest.approx(87.5) and metrics["pACC"] == pytest.approx(100 * 6 / 7)


def test_absent_classes_are_in_no_mean_but_false_predictions_cost():
    metrics = metrics_of([[0, 0, 2, 0]], [[0, 0, 0, 1]], 3)
    assert math.isnan(metrics["IoU-2"]) and math.isnan(metrics["ACC-2"])
    assert metrics["IoU-0"] == pytest.approx(50) and metrics["IoU-1"] == 0
    assert metrics["mIoU"] == pytest.approx(25) and metrics["mACC"] == pytest.approx(100 / 3)
    assert metrics["fwIoU"] == pytest.approx(37.5) and metrics["pACC"] == pytest.approx(50)


def test_nothing_but_ignored_pixels():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(math.isnan(value) for value in metrics_of([[0, 1]], [[255, 255]], 2).values())


def test_equals_a_count_in_plain_python():
    rng = np.random.default_rng(0)
    prediction, label = rng.integers(0, 6, (40, 30)), rng.choice([0, 1, 2, 4, 255], (40, 30))
    pairs = [(p, t) for p, t in zip(prediction.ravel(), label.ravel(), strict=True) if t != 255]
    ious = []
    for k in range(6):
        both = sum(p == k and t == k for p, t in pairs)
        either = sum(p == k or t == k for p, t in pairs)
        if any(t == k for _, t in pairs):
            ious.append(100 * both / either)
    metrics = metrics_of(prediction, label, 6)
    assert [v for n, v in metrics.items() if n.startswith("IoU-") and v == v] == pytest.approx(ious)
    assert metrics["mIoU"] == pytest.approx(sum(ious) / 4)
    assert metrics["pACC"] == pytest.approx(100 * sum(p == t for p, t in pairs) / len(pairs))


def test_equals_detectron2_where_all_classes_are_present(toy_dataset):
    records, outputs = inputs_and_scores(toy_dataset)
    ours = evaluate(ConfusionEvaluator(dataset_name=toy_dataset), records, outputs)
    theirs = evaluate(SemSegEvaluator(toy_dataset, distributed=False), records, outputs)
    names = ["mIoU", "fwIoU", "mACC", "pACC"]
    names += [f"{kind}-{color}" for kind in ("IoU", "ACC") for color in ("red", "green", "blue")]
    assert [ours[name] for name in names] == pytest.approx([theirs[name] for name in names])


def test_sizes_must_agree(toy_dataset):
    records, outputs = inputs_and_scores(toy_dataset)
    outputs[0]["sem_seg"] = outputs[0]["sem_seg"][:, 1:]
    with pytest.raises(ValueError, match=r"0\.png has size \(32, 32\), its prediction \(31, 32\)"):
        evaluate(ConfusionEvaluator(dataset_name=toy_dataset), records, outputs)


def test_labels_must_be_classes(toy_dataset):
    records, outputs = inputs_and_scores(toy_dataset)
    Image.fromarray(np.full((32, 32), 3, dtype=np.uint8)).save(records[0]["sem_seg_file_name"])
    with pytest.raises(ValueError, match=r"0\.png holds the ids 3; wanted 0 to 2"):
        evaluate(ConfusionEvaluator(dataset_name=toy_dataset), records, outputs)


def test_scores_must_be_of_the_data_sets_classes(toy_dataset):
    records, outputs = inputs_and_scores(toy_dataset, num_classes=4)
    with pytest.raises(ValueError, match="scores of 4 classes; wanted the classes of 'toy_sem_seg', 0 to 2"):
        evaluate(ConfusionEvaluator(dataset_name=toy_dataset), records, outputs)


def test_the_records_are_not_built_again(toy_dataset, monkeypatch):
    """Listing the user's own data or COCO may take minutes, and the inputs already have the paths of the label maps."""
    mapper = SemSegMapper(is_train=False, augmentations=[], num_classes=3)
    records, outputs = inputs_and_scores(toy_dataset)
    evaluator, asked = ConfusionEvaluator(dataset_name=toy_dataset), []
    monkeypatch.setattr(DatasetCatalog, "get", asked.append)
    metrics = evaluate(evaluator, [mapper(record) for record in records], outputs)
    assert metrics["mIoU"] > 0 and asked == []


def test_ids_are_as_good_as_scores(toy_dataset):
    records, outputs = inputs_and_scores(toy_dataset)
    evaluator, ids = ConfusionEvaluator(dataset_name=toy_dataset), [one["sem_seg"].argmax(dim=0) for one in outputs]
    wanted = evaluate(evaluator, records, outputs)
    assert evaluate(evaluator, records, [{"class_ids": one} for one in ids]) == wanted
    with pytest.raises(ValueError, match="the class id 7; wanted the classes of 'toy_sem_seg', 0 to 2"):
        evaluate(evaluator, records[:1], [{"class_ids": torch.full_like(ids[0], 7)}])


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([0, 255], "mIoU: 100.0, which is meaningless, since the label maps contain only the class red"),
        ([255], "mIoU: undefined, since every pixel of the label maps is ignored"),
        ([0, 1], "mIoU: 100.0 (mean over 2 classes)"),
    ],
)
def test_a_mean_over_one_class_is_told(toy_dataset, tmp_path, caplog, ids, told):
    label = np.resize(np.uint8(ids), (4, 6))
    Image.fromarray(label).save(tmp_path / "label.png")
    output = {"class_ids": torch.from_numpy(np.where(label == 255, 0, label).astype(np.int64))}
    with caplog.at_level(logging.INFO, "tokenseg"):
        evaluate(
            ConfusionEvaluator(dataset_name=toy_dataset), [{"sem_seg_file_name": str(tmp_path / "label.png")}], [output]
        )
    assert told in caplog.text


def test_metadata_must_name_the_classes(toy_dataset, monkeypatch):
    monkeypatch.delattr(MetadataCatalog.get(toy_dataset), "stuff_classes")
    with pytest.raises(ValueError, match=r"'toy_sem_seg' has no stuff_classes; wanted stuff_classes and ignore_label"):
        ConfusionEvaluator(dataset_name=toy_dataset)


def _rows(folder):
    with (folder / "sem_seg_per_class.csv").open() as file:
        return list(csv.DictReader(file))


def test_files(toy_dataset, tmp_path):
    records, outputs = inputs_and_scores(toy_dataset)
    out = tmp_path / "out"
    metrics = evaluate(ConfusionEvaluator(dataset_name=toy_dataset, output_dir=str(out)), records, outputs)
    files = ["sem_seg_confusion.csv", "sem_seg_per_class.csv", "sem_seg_per_image.npz"]
    assert sorted(path.name for path in out.iterdir()) == files
    with (out / files[0]).open() as file:
        names, *matrix = [row[1:] for row in csv.reader(file)]
    assert np.array(matrix, dtype=int).sum(axis=0).tolist() == [int(row["labelled_pixels"]) for row in _rows(out)]
    assert names == ["red", "green", "blue"]
    rows = _rows(out)
    assert [float(row["IoU"]) for row in rows] == [metrics[f"IoU-{row['class']}"] for row in rows]
    pixels = sum((np.asarray(Image.open(record["sem_seg_file_name"])) != 255).sum() for record in records)
    assert sum(int(row["labelled_pixels"]) for row in rows) == pixels == sum(int(r["predicted_pixels"]) for r in rows)
    images = ImageCounts.read(out)
    assert images.mean_iou() == pytest.approx(metrics["mIoU"]) and images.images[5] == "5.png"
    assert images.labelled.sum() == pixels == images.predicted.sum()


def test_predictions_are_written_where_wanted(toy_dataset, tmp_path):
    records, outputs = inputs_and_scores(toy_dataset)
    ours = ConfusionEvaluator(dataset_name=toy_dataset, output_dir=str(tmp_path / "a"), save_predictions=True)
    evaluate(ours, records, outputs)
    evaluate(SemSegEvaluator(toy_dataset, distributed=False, output_dir=str(tmp_path / "b")), records, outputs)
    files = [Path(tmp_path / folder / "sem_seg_predictions.json").read_text() for folder in "ab"]
    assert json.loads(files[0]) == json.loads(files[1])
    with pytest.raises(ValueError, match="wanted an output_dir"):
        ConfusionEvaluator(dataset_name=toy_dataset, save_predictions=True)


def test_ranks_are_joined(toy_dataset, tmp_path, monkeypatch):
    records, outputs = inputs_and_scores(toy_dataset)
    folders = [str(tmp_path / name) for name in ("alone", "first", "second")]
    alone, first, second = (ConfusionEvaluator(dataset_name=toy_dataset, output_dir=folder) for folder in folders)
    wanted = evaluate(alone, records, outputs)
    for evaluator, part in ((first, slice(4, None)), (second, slice(4))):
        evaluator.reset()
        evaluator.process(records[part], outputs[part])
    theirs = iter([second._confusion, second._images, second._predictions])
    monkeypatch.setattr(comm, "all_gather", lambda data: [data, next(theirs)])
    assert first.evaluate()["sem_seg"] == wanted
    files = [Path(folder, "sem_seg_per_image.npz").read_bytes() for folder in folders[:2]]
    assert files[0] == files[1]
    monkeypatch.setattr(comm, "all_gather", lambda data: [data])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert first.evaluate() is None
