"""Runs that are killed anywhere and resumed equal uninterrupted ones: weights, best checkpoint, metrics and files."""

import copy
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from runs import at_call, in_write_of, killed, left_behind
from tokenseg.engine import loop
from tokenseg.engine.best import BestCheckpoint
from tokenseg.engine.checkpoint import Checkpointer
from tokenseg.engine.evaluation import Evaluation
from tokenseg.engine.metrics_file import MetricsFile, read_metrics
from tokenseg.engine.saving import PeriodicSaver
from tokenseg.engine.trainer import Trainer
from tokenseg.evaluation.sem_seg import ConfusionEvaluator

MOMENTS = {
    "first step": at_call(Trainer, "run_step", 1),
    "fourth step": at_call(Trainer, "run_step", 4),
    "before the second checkpoint": at_call(PeriodicSaver, "__call__", 4),
    "in the second checkpoint": in_write_of("model_0000003"),
    "before the first tag": at_call(Checkpointer, "tag_last_checkpoint", 1),
    "before the second tag": at_call(Checkpointer, "tag_last_checkpoint", 2),
    "before the final tag": at_call(Checkpointer, "tag_last_checkpoint", 4),
    "in the final checkpoint": in_write_of("model_final"),
    "before the oldest goes": at_call(PeriodicSaver, "_prune", 3),
    "before the first evaluation": at_call(Evaluation, "__call__", 1),
    "in the second evaluation": at_call(ConfusionEvaluator, "process", 9),
    "in the final evaluation": at_call(ConfusionEvaluator, "evaluate", 3),
    "before the first best": at_call(BestCheckpoint, "__call__", 1),
    "in the first best": in_write_of("model_best"),
    "after the second best": at_call(BestCheckpoint, "__call__", 2, after=True),
    "before the final best": at_call(BestCheckpoint, "__call__", 3),
    "before the second row": at_call(MetricsFile, "write", 4),
    "before the final row": at_call(MetricsFile, "write", 6),
    "after the final row": at_call(MetricsFile, "write", 6, after=True),
}


@pytest.fixture(scope="module")
def unbroken():
    """The files that uninterrupted runs leave, by the overrides of the run; each of them is trained only once."""
    return {}


# One moment of each kind is tested here; the others are slow tests.
TELLING = {"first step", "in the second checkpoint", "before the final tag", "in the second evaluation"}
TELLING |= {"in the first best", "after the second best", "before the second row", "after the final row"}
OTHERS = pytest.mark.slow("runs that are killed at further moments")


@pytest.mark.parametrize("moment", [pytest.param(one, marks=() if one in TELLING else OTHERS) for one in MOMENTS])
def test_a_run_killed_anywhere_equals_the_unbroken(config, tmp_path, unbroken, moment):
    if not unbroken:
        loop.train(config("unbroken"), resume=False)
        unbroken |= left_behind(tmp_path / "unbroken")
    broken = config("broken")
    assert killed(broken, MOMENTS[moment]) == 9
    loop.train(broken, resume=True)
    assert left_behind(tmp_path / "broken") == unbroken


@pytest.mark.parametrize(("number", "checkpoint"), [(1, "model_0000001.pth"), (3, "model_final.pth")])
def test_a_checkpoint_is_saved_before_the_evaluation(config, tmp_path, number, checkpoint):
    assert killed(config("run"), at_call(Evaluation, "__call__", number)) == 9
    assert (tmp_path / "run/last_checkpoint").read_text() == checkpoint


def test_a_checkpoint_between_rows_adds_none(config, tmp_path):
    """The timer's last measurement is from an earlier iteration, and would otherwise become a row of its own."""
    periods = ["train.max_iter=8", "train.log_period=8", "train.checkpointer.period=5", "train.eval_period=8"]
    loop.train(config("unbroken", *periods), resume=False)
    assert killed(config("broken", *periods), at_call(Trainer, "run_step", 6)) == 9
    loop.train(config("broken", *periods), resume=True)
    assert left_behind(tmp_path / "broken") == left_behind(tmp_path / "unbroken")


def miou(folder):
    """Iteration -> mIoU, for the rows that have one."""
    rows = read_metrics(folder / "metrics.json")
    return {row["iteration"]: row["sem_seg/mIoU"] for row in rows if "sem_seg/mIoU" in row}


def test_evaluations_between_checkpoints_are_repeated_alike(config, tmp_path):
    periods = ["train.eval_period=1", "train.checkpointer.period=4", "train.log_period=3"]
    loop.train(config("unbroken", *periods), resume=False)
    assert killed(config("broken", *periods), at_call(Trainer, "run_step", 4)) == 9
    assert list(miou(tmp_path / "broken")) == [0, 1, 2]
    loop.train(config("broken", *periods), resume=True)
    assert left_behind(tmp_path / "broken") == left_behind(tmp_path / "unbroken")


@pytest.mark.parametrize("first", [2, pytest.param(3, marks=OTHERS), pytest.param(4, marks=OTHERS), 5])
def test_an_extended_run_keeps_the_better_of_both(config, tmp_path, first):
    loop.train(config("run", f"train.max_iter={first}"), resume=False)
    loop.train(config("run"), resume=True)
    best, values = torch.load(tmp_path / "run/model_best.pth"), miou(tmp_path / "run")
    assert set(values) == {1, 3, 5, first - 1}
    assert best["best_value"] == max(values.values()) == values[best["iteration"]]


def test_the_last_evaluation_need_not_be_the_best(config, tmp_path):
    """Otherwise the tests above would not show that the best checkpoint is kept."""
    loop.train(config("run"), resume=False)
    values = miou(tmp_path / "run")
    assert max(values.values()) > values[5] and len(set(values.values())) == 3


def test_a_finished_run_is_left_as_it_is(config, tmp_path):
    loop.train(config("run"), resume=False)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.pth")}
    left = left_behind(tmp_path / "run")
    loop.train(config("run"), resume=True)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.pth")} == before
    assert left_behind(tmp_path / "run") == left


@pytest.mark.parametrize("overrides", [["dataset.num_classes=4"], ["dataloader.train.total_batch_size=-1"]])
def test_a_resume_that_fails_changes_nothing(config, tmp_path, overrides):
    loop.train(config("run", "train.max_iter=2"), resume=False)
    before = left_behind(tmp_path / "run"), (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(ValueError, match="wanted"):
        loop.train(config("run", *overrides), resume=True)
    assert (left_behind(tmp_path / "run"), (tmp_path / "run/config.yaml").read_text()) == before


def test_overwriting_begins_after_the_first_step(config, tmp_path):
    loop.train(config("run", "train.max_iter=4"), resume=False)
    before = left_behind(tmp_path / "run")
    with pytest.raises(ValueError, match=r"train\.accumulate"):
        loop.train(config("run", "train.accumulate=3"), resume=False)
    assert left_behind(tmp_path / "run") == before
    loop.train(config("run", "train.max_iter=1", "train.eval_period=0"), resume=False)
    assert sorted(path.name for path in (tmp_path / "run").glob("*.pth")) == ["model_best.pth", "model_final.pth"]
    assert list(miou(tmp_path / "run")) == [0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.test=nonesuch", "'nonesuch' is not registered"),
        ("dataset.test=toy_gap", r"'toy_gap' cannot be read .*: 1 files are missing, such as .*/labels/none\.png"),
        ("train.best_metric=sem_seg/mIOU", "train.best_metric is 'sem_seg/mIOU'; wanted .*: sem_seg/mIoU, sem_seg/fw"),
        ("train.best_metric=sem_seg/IoU-grey", "train.best_metric is 'sem_seg/IoU-grey'"),
    ],
)
def test_what_an_evaluation_would_fail_by_is_told_before_the_first_step(config, tmp_path, gap, override, message):
    wrong = config("run", override)
    with pytest.raises(ValueError, match=message):
        loop.train(wrong, resume=False)
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.fixture
def gap(toy_dataset):
    """A data set like the toy one, but with one label file missing."""
    records = copy.deepcopy(DatasetCatalog.get(toy_dataset))
    records[3]["sem_seg_file_name"] = str(Path(records[3]["sem_seg_file_name"]).parent / "none.png")
    DatasetCatalog.register("toy_gap", lambda: records)
    MetadataCatalog.get("toy_gap").set(stuff_classes=["red", "green", "blue"], ignore_label=255)
    yield
    DatasetCatalog.remove("toy_gap")
    MetadataCatalog.remove("toy_gap")


def test_the_best_may_be_of_one_class(config, tmp_path):
    loop.train(config("run", "train.best_metric=sem_seg/IoU-green", "train.max_iter=2"), resume=False)
    assert torch.load(tmp_path / "run/model_best.pth")["best_metric"] == "sem_seg/IoU-green"


def test_weights_that_are_not_finite_are_never_saved(config, tmp_path, monkeypatch):
    loop.train(config("run", "train.max_iter=2"), resume=False)
    before = left_behind(tmp_path / "run")

    def step(trainer, original=Trainer.run_step):
        original(trainer)
        trainer.model.sem_seg_head.layers[0].bias.data[0] = float("nan")

    monkeypatch.setattr(Trainer, "run_step", step)
    for resume in (True, False):
        with pytest.raises(FloatingPointError, match=r"1 of .* not finite, such as sem_seg_head\.layers\.0\.bias"):
            loop.train(config("run"), resume=resume)
        assert left_behind(tmp_path / "run") == before


def test_the_metric_of_the_best_stays(config):
    loop.train(config("run", "train.max_iter=2"), resume=False)
    with pytest.raises(ValueError, match=r"by sem_seg/mIoU, but train\.best_metric is sem_seg/mACC"):
        loop.train(config("run", "train.best_metric=sem_seg/mACC"), resume=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.checkpointer.period=0", r"train\.checkpointer\.period is 0"),
        ("train.checkpointer.max_to_keep=0", r"train\.checkpointer\.max_to_keep is 0"),
        ("train.log_period=0", r"train\.log_period is 0"),
        ("train.eval_period=-3", r"train\.eval_period is -3"),
    ],
)
def test_periods_out_of_range(config, override, message):
    with pytest.raises(ValueError, match=message):
        loop.train(config("run", override), resume=False)


def test_without_an_evaluator(config, tmp_path):
    loop.train(config("run", "dataloader.evaluator=null"), resume=False)
    assert miou(tmp_path / "run") == {} and not (tmp_path / "run/model_best.pth").exists()
    with pytest.raises(ValueError, match="evaluator is null"):
        loop.evaluate(config("run", "dataloader.evaluator=null"), resume=True)


def test_evaluation_of_a_run_gives_its_last_row(config, tmp_path):
    loop.train(config("run"), resume=False)
    results = loop.evaluate(config("run"), resume=True)
    assert results["sem_seg"]["mIoU"] == miou(tmp_path / "run")[5]
