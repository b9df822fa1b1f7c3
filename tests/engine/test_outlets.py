"""Pictures of evaluations in TensorBoard, and a run in Weights & Biases."""

import sys
from types import ModuleType

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runs import left_behind
from tokenseg.data.mapper import SemSegMapper
from tokenseg.engine import loop
from tokenseg.engine.metrics_file import read_metrics
from tokenseg.engine.pictures import EvaluationPictures
from tokenseg.predictor import Predictor


def test_pictures_of_every_evaluation_are_in_tensorboard(config, tmp_path):
    loop.train(config("run", "train.pictures=2"), resume=False)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    tags = events.Tags()["images"]
    assert {"images/0", "images/1", "worst/0", "worst/1"} <= set(tags)
    assert [event.step for event in events.Images("images/0")] == [1, 3, 5]
    assert events.Images("images/0")[0].width == 4 * 256 + 3 * 6  # image, label, prediction, errors


def test_pictures_change_nothing_else(config, tmp_path):
    loop.train(config("with", "train.pictures=2"), resume=False)
    loop.train(config("without", "train.pictures=0"), resume=False)
    assert left_behind(tmp_path / "with") == left_behind(tmp_path / "without")


@pytest.fixture
def wandb(monkeypatch):
    """The calls of the package wandb, as a list of (name of the call, ...)."""
    asked, module = [], ModuleType("wandb")

    class Run:
        id = "abc"

        def log(self, values, step=None):
            asked.append(("log", step, values))

        def finish(self):
            asked.append(("finish",))

    def init(**settings):
        asked.append(("init", settings))
        return Run()

    module.init, module.Image = init, lambda pixels: pixels.shape
    module.Table = lambda columns, data: [columns, *data]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return asked


def test_a_run_in_weights_and_biases(config, tmp_path, wandb):
    settings = ["train.wandb.project=shapes", "train.pictures=1"]
    loop.train(config("run", *settings), resume=False)
    _, start = wandb[0]
    assert (start["project"], start["name"], start["id"]) == ("shapes", "run", None)
    assert start["config"]["train"]["max_iter"] == 6 and wandb[-1] == ("finish",)
    logged = [entry for entry in wandb if entry[0] == "log"]
    losses = {step: values["total_loss"] for _, step, values in logged if "total_loss" in values}
    assert losses == {row["iteration"]: row["total_loss"] for row in read_metrics(tmp_path / "run/metrics.json")}
    assert [step for _, step, values in logged if "images/0" in values] == [1, 3, 5]
    table = next(values["classes"] for *_, values in logged if "classes" in values)
    assert ["sem_seg/IoU", "green"] in [row[:2] for row in table]
    loop.train(config("run", *settings, "train.max_iter=8"), resume=True)
    assert [entry[1]["id"] for entry in wandb if entry[0] == "init"] == [None, "abc"]


# A folder named wandb, too, can be imported: the result is an empty module.
@pytest.mark.parametrize("module", [None, ModuleType("wandb")])
def test_without_the_package_it_says_what_to_install(config, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(ValueError, match=r"needs the package wandb, .* pip install 'tokenseg\[wandb\]'"):
        loop.train(config("run", "train.wandb.project=shapes"), resume=False)


def test_the_picture_of_a_class_is_the_image_that_has_most_of_it(toy_dataset):
    records = DatasetCatalog.get(toy_dataset)
    pictures = EvaluationPictures(
        records=records,
        mapper=None,
        class_names=["red", "green", "blue"],
        colors=np.eye(3, dtype=np.uint8),
        ignore_label=255,
        images=1,
        worst=1,
    )
    # 21 columns of the fifth image are green and 31 of its rows count, 16 and 39 of the second
    assert pictures._image_with_most(1) == 4
    assert pictures._worst_classes({"IoU-red": 3.0, "IoU-green": float("nan"), "IoU-blue": 1.0}) == [(2, 1.0)]


def test_pictures_compile_no_model(toy_predictor, toy_dataset):
    graphs, model = [], Predictor(*toy_predictor).model
    model.sem_seg_head.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    pictures = EvaluationPictures(
        records=DatasetCatalog.get(toy_dataset),
        mapper=SemSegMapper(is_train=False, augmentations=[], num_classes=3),
        class_names=["red", "green", "blue"],
        colors=np.eye(3, dtype=np.uint8),
        ignore_label=255,
        images=1,
        worst=0,
    )
    assert [*pictures(model, {})] == ["images/0"] and not graphs
