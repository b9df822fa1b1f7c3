"""Every experiment: its name says what it trains on and for how long."""

import functools
import re
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tokenseg.config.load import load_config

FOLDER = Path(__file__).resolve().parents[1] / "configs"
# Every experiment; templates are in common/ or called model.py and hosts.py.
TEMPLATES = {"model.py", "hosts.py"}
CONFIGS = sorted(path for path in FOLDER.rglob("*.py") if "common" not in path.parts and path.name not in TEMPLATES)
# Those of no published schedule have names of their own.
NAMED = [path for path in CONFIGS if path.parent not in (FOLDER, FOLDER / "shape_scenes")]
DATA = "ade20k|cityscapes|coco_stuff_10k|pascal_context_59|pascal_context_60"


@functools.cache
def load(path: Path) -> DictConfig:
    """A config for all tests to read; who changes it loads its own."""
    return load_config(str(path))


@pytest.mark.parametrize("path", NAMED, ids=lambda path: path.stem)
def test_names_tell_data_crop_and_iterations(path):
    said = re.fullmatch(rf"[a-z]\w*?_({DATA})_(\d+)_(\d+)k(_instances)?", path.stem)
    data, crop, iterations = said[1], int(said[2]), 1000 * int(said[3])
    cfg = load(path)
    assert re.fullmatch(rf"{data}(_fine)?_sem_seg_train", cfg.dataset.train)
    assert cfg.dataset.crop == cfg.dataloader.train.mapper.augmentations[-1].size[0] == crop
    assert cfg.train.max_iter == cfg.lr_multiplier.max_iter == iterations
    assert cfg.train.eval_period == iterations // 10


def test_the_order_of_channels_stands_once():
    cfg = load_config(str(NAMED[0]), ["dataset.image_format=BGR"])
    train, test = cfg.dataloader.train.mapper, cfg.dataloader.test.mapper
    distortion = next(one for one in train.augmentations if "image_format" in one)
    assert {train.image_format, test.image_format, distortion.image_format} == {"BGR"}
