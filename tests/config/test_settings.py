from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tokenseg.config.load import load_config
from tokenseg.config.settings import KINDS, check_settings, check_training

ROOT = Path(__file__).resolve().parents[2]
CONFIG, DETECTION = str(ROOT / "configs/own_data.py"), str(ROOT / "configs/own_detection.py")


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.checkpointer.period=0", "a whole number, 1 or more"),
        ("train.checkpointer.period=null", "a whole number, 1 or more"),
        ("train.checkpointer.period=2.5", "a whole number, 1 or more"),
        ("train.checkpointer.max_to_keep=0", "a whole number, 1 or more, or null"),
        ("train.log_period=0", "a whole number, 1 or more"),
        ("train.max_iter=3.5", "a whole number, 1 or more"),
        ("train.max_iter=null", "a whole number, 1 or more"),
        ("train.eval_period=-3", "a whole number, 0 or more"),
        ("train.clip_grad_norm=-1", "a number above 0, or null"),
        ("train.clip_grad_norm=nan", "a number above 0, or null"),
        ("train.seed=-1", "a whole number from 0 to 2147483648"),
        ("train.accumulate=0", "a whole number, 1 or more"),
        ("train.output_dir=null", "a text"),
        ("train.ddp=null", "a mapping"),
        ("train.init_backbone=null", "a mapping"),
        ("train.init_backbone.file=null", "a path, or empty"),
        ("train.init_backbone.accept_stride=8.5", "a whole number, 1 or more, or null"),
        ("dataloader.train.num_workers=-1", "a whole number, 0 or more"),
        ("dataloader.test.num_workers=-1", "a whole number, 0 or more"),
        ("dataloader.train.total_batch_size=2.5", "a whole number, 1 or more"),
        ("dataset.crop=-5", "a whole number, 1 or more"),
        ("dataset.ignore_label=1.5", "a whole number, 0 or more"),
        ("dataset.id_map=[0, 1]", "a mapping, or null"),
        ("dataset.classes=[]", "a list of names"),
        ("dataset.classes=[[a], [b]]", "a list of names"),
        ("model.pixel_mean=[1, 2, 3, 4]", "three numbers, or dataset.bands"),
        ("model.pixel_mean=[1, a, 3]", "a number for each channel"),
        ("model.pixel_std=[1, 0, 1]", "a number above 0 for each channel"),
        ("dataset.value_range=[9, 1]", "two numbers, the lower first"),
        ("optimizer.lr=-1", "a number above 0"),
        ("optimizer.lr=null", "a number above 0"),
        ("optimizer.weight_decay=-1", "a number, 0 or more"),
        ("lr_multiplier.warmup_iter=1.5", "a whole number, 0 or more"),
        ("model=null", "a mapping"),
    ],
)
def test_settings_are_refused_by_name(override, wanted):
    key = override.partition("=")[0].replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"^{key} is .*; wanted {wanted}"):
        load_config(CONFIG, [override])


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.clip_grad_norm=1", "train.eval_period=0", "train.checkpointer.max_to_keep=null", "train.max_iter=1e3"],
        ["dataset.id_map={0: 0, 255: ignore}", "dataset.classes=[a, 2, c]", "dataloader.train.num_workers=0"],
    ],
)
def test_right_settings_are_not(overrides):
    assert load_config(CONFIG, overrides)


def test_every_key_is_one_of_a_config():
    configs = [load_config(CONFIG), load_config(DETECTION, ["dataset.classes=[a]"])]
    lacking = [key for key in KINDS if all(OmegaConf.select(one, key, default=...) is ... for one in configs)]
    assert lacking == ["dataloader.test.batch_size"]  # left at its default


def test_long_values_are_cut():
    config = load_config(CONFIG, [])
    config.model.pixel_mean = list(range(1000))
    with pytest.raises(ValueError) as told:
        check_settings(config)
    assert len(str(told.value)) < 130


def test_references_that_lead_nowhere_are_told():
    config = load_config(CONFIG, [])
    config.train.max_iter = "${no.such}"
    with pytest.raises(ValueError, match=r"train\.max_iter cannot be determined: .*no\.such"):
        check_settings(config)


@pytest.mark.parametrize("key", ["optimizer", "lr_multiplier", "dataloader.train", "dataloader.test"])
def test_a_training_needs_its_parts(key):
    with pytest.raises(ValueError, match=f"^{key} is null"):
        check_training(load_config(CONFIG, [f"{key}=null"]))
