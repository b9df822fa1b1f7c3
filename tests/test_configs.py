"""Every experiment builds, survives saving, and trains on what its name says, for as long as it says."""

import copy
import functools
import re
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from shapes import shapes_only
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


def located(node: object) -> object:
    """A config in plain containers, with the calls themselves where a saved one has their names."""
    if isinstance(node, list):
        return [located(child) for child in node]
    if isinstance(node, dict):
        return {key: located(child) for key, child in node.items()} | (
            {"_target_": locate(node["_target_"])} if isinstance(node.get("_target_"), str) else {}
        )
    return node


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_and_survives_saving(path, tmp_path):
    cfg = load(path)
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    saved = load_config(str(tmp_path / "config.yaml"))
    assert located(OmegaConf.to_container(saved)) == located(OmegaConf.to_container(cfg))
    with shapes_only():
        model = instantiate(cfg.model)
    optimizer = copy.deepcopy(cfg.optimizer)
    optimizer.params.model = model
    groups = instantiate(optimizer).param_groups
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in model.parameters())
    instantiate(cfg.lr_multiplier)


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


@pytest.mark.parametrize(
    ("config", "scale", "size"),
    [
        ("segvit/segvit_vit_l_pascal_context_59_480_80k", 1.0, (520, 2253)),
        ("segvit/segvit_vit_l_pascal_context_60_480_80k", 0.5, (480, 2080)),
        ("ecenet/ecenet_swin_l_pascal_context_59_480_80k", 1.75, (910, 3943)),
        ("structtoken/structtoken_cse_vit_l_coco_stuff_10k_512_80k", 1.0, (512, 2219)),
        ("sgr/fcn_resnet_101_coco_stuff_10k_512_60k", 0.5, (512, 2219)),
        ("segvit/segvit_vit_b_ade20k_512_160k", 1.0, (473, 2048)),
        ("segvit/segvit_vit_b_ade20k_512_160k", 0.5, (236, 1024)),
    ],
)
def test_sizes_of_test_images(config, scale, size):
    """Of an image of 300 x 1300 pixels."""
    (resize,) = instantiate(load(FOLDER / f"{config}.py").dataloader.test.mapper.augmentations)
    transform = resize.at_scale(scale).get_transform(np.broadcast_to(np.uint8(0), (300, 1300, 3)))
    assert (transform.new_h, transform.new_w) == size


def test_several_scales_want_the_original():
    cfg = load_config(str(NAMED[0]), ["train.tta.enabled=true"])
    assert cfg.dataloader.test.mapper.keep_original and not load(NAMED[0]).dataloader.test.mapper.keep_original
