import logging
from pathlib import Path

import pytest
from detectron2.config import LazyConfig

from tokenseg.config.changes import check_changes
from tokenseg.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def resume(tmp_path, caplog):
    """A function that compares a config under overrides with the saved one of a run, and returns the log."""
    (tmp_path / "images").mkdir()
    first = [f"dataset.images={tmp_path}/images", f"dataset.labels={tmp_path}/labels"]

    def compare(*overrides, before=()):
        path = str(ROOT / "configs/own_data.py")
        LazyConfig.save(load_config(path, [*first, *before]), str(tmp_path / "config.yaml"))
        with caplog.at_level(logging.INFO, "tokenseg"):
            check_changes(load_config(path, [*first, *overrides]), str(tmp_path / "config.yaml"))
        return caplog.text

    return compare


def test_nothing_changed(resume):
    assert resume() == ""
    assert resume("train.output_dir=elsewhere") == ""


def test_what_takes_effect_is_said(resume):
    told = resume("train.max_iter=9000", "dataloader.train.num_workers=1", "train.clip_grad_norm=1")
    assert "Changed settings take effect: " in told and "train.max_iter is 9000 and was 4000" in told
    assert "dataloader.train.num_workers is 1 and was 2" in told and "train.clip_grad_norm is 1 and was null" in told
    assert "no effect" not in told


def test_what_takes_none_is_said(resume):
    told = resume("train.init_checkpoint=a.pth", "train.init_backbone.file=b.safetensors")
    assert "have no effect on --resume: train.init_backbone.file is b.safetensors and was " in told
    assert "train.init_checkpoint is a.pth and was " in told and "take effect" not in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.lr=1", r"optimizer\.lr is 1 and was 0\.0001.* \(changed: optimizer\.lr\)"),
        ("optimizer.params.lr_factors={backbone: 2}", r"optimizer\.params\.lr_factors\.backbone is 2 and was null"),
        ("train.seed=4", r"dataloader\.train\.seed is 4 and was 0.*\(changed: train\.seed\)"),
        ("dataloader.train.total_batch_size=4", r"total_batch_size is 4 and was 8"),
        ("dataset.crop=128", r"crop_size\.0 is 128 and was 256.*\(changed: dataset\.crop\)"),
        ("dataset.held_out=0.5", r"dataset\.held_out is 0\.5 and was 0\.2"),
        ("dataset.classes=[a,b]", r"classes\.0 is a and was background"),
        ("dataset.images=/tmp", r"dataset\.images is /tmp and was /.*\(changed: dataset\.images\)"),
        ("dataloader.train.mapper.augmentations=[]", r"augmentations"),
    ],
)
def test_what_the_stream_or_the_optimiser_depends_on_is_refused(resume, override, told):
    with pytest.raises(ValueError, match=rf"^--resume continues.*{told}.*wanted the old values, or a new run"):
        resume(override)


def test_folders_may_have_moved(resume):
    assert "dataset.labels is /new and was" in resume("dataset.labels=/new")  # the old folder does not exist


def test_modules_may_have_moved(resume, tmp_path):
    resume()
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("tokenseg.data.stream.TrainLoader", "tokenseg.old.TrainLoader"))
    first = [f"dataset.images={tmp_path}/images", f"dataset.labels={tmp_path}/labels"]
    check_changes(load_config(str(ROOT / "configs/own_data.py"), first), str(tmp_path / "config.yaml"))


def test_a_config_that_cannot_be_read_is_told(tmp_path, caplog):
    (tmp_path / "config.yaml").write_text("model: !!python/name:os.mkdir")
    check_changes(load_config(str(ROOT / "configs/own_data.py"), []), str(tmp_path / "config.yaml"))
    assert "The config cannot be compared with that of the run that is resumed" in caplog.text
