import io
import sys

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from torch import nn

from tokenseg.data.labels import read_class_ids
from tokenseg.engine.evaluation import Evaluation
from tokenseg.engine.metrics_file import read_results
from tokenseg.evaluation.sem_seg import ConfusionEvaluator


class Oracle(nn.Module):
    """A model that predicts the labels, with class 0 at ignored pixels, and records which outputs were requested."""

    def __init__(self):
        super().__init__()
        self.weight, self.asked = nn.Parameter(torch.zeros(1)), []

    def ids(self, batched_inputs, also=()):
        self.asked.append(set(also))
        labels = [read_class_ids(record) for record in batched_inputs]
        ids = [torch.from_numpy(np.where(label == 255, 0, label)) for label in labels]
        return [{"class_ids": one, "confidence": torch.full(one.shape, 0.75)} for one in ids]


def evaluation(name, metrics, **others):
    loader = [[record] for record in DatasetCatalog.get(name)]
    return Evaluation(loader=loader, evaluator=ConfusionEvaluator(dataset_name=name, metrics=metrics), **others)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_alone(toy_dataset, monkeypatch, terminal):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    evaluation(toy_dataset, [])(Oracle().eval())
    assert ("Evaluation" in stderr.getvalue()) is terminal


@pytest.mark.parametrize(
    ("metrics", "wanted"), [([], set()), (["boundary", "size", "frequency"], set()), (["calibration"], {"confidence"})]
)
def test_the_model_is_asked_for_what_the_metrics_want(toy_dataset, metrics, wanted):
    model = Oracle().eval()
    results = evaluation(toy_dataset, metrics)(model)
    assert list(results) == ["sem_seg", *metrics] and model.asked == [wanted] * 6
    assert results.get("calibration", {"ECE": 25.0})["ECE"] == pytest.approx(25)
    assert results.get("boundary", {"mIoU": 100.0})["mIoU"] == pytest.approx(100)


def test_results_are_written(toy_dataset, tmp_path):
    results = evaluation(toy_dataset, ["size"], output_dir=str(tmp_path))(Oracle().eval())
    found = read_results(tmp_path)
    assert found["sem_seg/mIoU"] == results["sem_seg"]["mIoU"] and "size/IoU_small" in found
    assert read_results(tmp_path / "elsewhere") == {}


def test_results_of_further_metrics_may_be_the_best(toy_dataset):
    checked = evaluation(toy_dataset, ["size", "frequency"])
    checked.check_metric("size/IoU_small")
    with pytest.raises(ValueError, match=r"wanted one that is evaluated: .*frequency/mIoU_tail"):
        checked.check_metric("boundary/mIoU")
