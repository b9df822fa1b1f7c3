"""Every experiment builds, survives saving, and trains on what its name says, for as long as it says."""

import copy
import re

import numpy as np
import pytest
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.registry import locate
from omegaconf import OmegaConf

from loaded_configs import loaded
from shapes import shapes_only
from tokenseg.config.load import load_config
from tokenseg.config.shipped import CONFIGS, config_path, list_models

# Every experiment; those of no published schedule have names of their own.
PATHS = [config_path(name) for name in list_models()]
NAMED = [path for path in PATHS if path.parent not in (CONFIGS, CONFIGS / "shape_scenes", CONFIGS / "evidence")]
DETECTORS = [path for path in NAMED if path.parent.name == "detection"]
SEGMENTORS = [path for path in NAMED if path not in DETECTORS]
DATA = "ade20k|cityscapes|coco|coco_stuff_10k|pascal_context_59|pascal_context_60"


def located(node: object) -> object:
    """A config in plain containers, with the calls themselves where a saved one has their names."""
    if isinstance(node, list):
        return [located(child) for child in node]
    if isinstance(node, dict):
        return {key: located(child) for key, child in node.items()} | (
            {"_target_": locate(node["_target_"])} if isinstance(node.get("_target_"), str) else {}
        )
    return node


def one_of_each_kind(paths):
    """Configs of a kind lie in one folder and have names alike up to the backbone; all but the first are slow tests."""
    seen = set()
    for path in paths:
        kind = path.parent, re.split("_(?:beit|dino|eva|msra|resnet|swin|vit)", path.stem)[0].split("_")[:3]
        if path.parent not in (CONFIGS / "structtoken", CONFIGS / "segvit", CONFIGS / "sgr", CONFIGS / "detection"):
            kind = path.parent, path.stem.split("_")[:1]
        more = pytest.mark.slow("building the configs that differ from others in backbone, data or one setting")
        yield pytest.param(path, id=path.stem, marks=[more] if str(kind) in seen else [])
        seen.add(str(kind))


@pytest.mark.parametrize("path", one_of_each_kind(PATHS))
def test_every_config_builds_and_survives_saving(path, tmp_path):
    cfg = loaded(path)
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    saved = load_config(str(tmp_path / "config.yaml"))
    assert located(OmegaConf.to_container(saved)) == located(OmegaConf.to_container(cfg))
    with shapes_only():
        model = instantiate(cfg.model)
    optimizer = copy.deepcopy(cfg.optimizer)
    optimizer.params.model = model
    groups = instantiate(optimizer).param_groups
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(p.numel() for g in groups for p in g["params"]) == trainable
    instantiate(cfg.lr_multiplier)


def said(path):
    """Data, size and iterations, as the name of a config tells them."""
    words = re.fullmatch(rf"[a-z]\w*?_({DATA})_(\d+)_(\d+)k(_instances)?", path.stem)
    return words[1], int(words[2]), 1000 * int(words[3])


def check_schedule(cfg, iterations):
    assert cfg.train.max_iter == cfg.lr_multiplier.max_iter == iterations
    assert cfg.train.eval_period == iterations // 10


@pytest.mark.parametrize("path", SEGMENTORS, ids=lambda path: path.stem)
def test_names_tell_data_crop_and_iterations(path):
    data, crop, iterations = said(path)
    cfg = loaded(path)
    assert re.fullmatch(rf"{data}(_fine)?_sem_seg_train", cfg.dataset.train)
    assert cfg.dataset.crop == cfg.dataloader.train.mapper.augmentations[-1].size[0] == crop
    check_schedule(cfg, iterations)


@pytest.mark.parametrize("path", DETECTORS, ids=lambda path: path.stem)
def test_names_tell_data_short_side_and_iterations(path):
    data, side, iterations = said(path)
    cfg = loaded(path)
    assert re.fullmatch(rf"{data}_2017_train", cfg.dataset.train)
    assert cfg.dataset.test_short_side == max(cfg.dataset.short_sides) == side
    check_schedule(cfg, iterations)
    assert cfg.dataloader.train.total_batch_size == 8 and cfg.train.best_metric == "segm/AP"
    factor = instantiate(cfg.lr_multiplier)
    told = {0: 1e-3, 1000: 1.0, 209_999: 1.0, 210_000: 0.1, 249_999: 0.1, 250_000: 0.01, 269_999: 0.01}
    assert {step: factor(step / iterations) for step in told} == pytest.approx(told)


def test_the_order_of_channels_stands_once():
    cfg = load_config(str(SEGMENTORS[0]), ["dataset.image_format=BGR"])
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
    (resize,) = instantiate(loaded(CONFIGS / f"{config}.py").dataloader.test.mapper.augmentations)
    transform = resize.at_scale(scale).get_transform(np.broadcast_to(np.uint8(0), (300, 1300, 3)))
    assert (transform.new_h, transform.new_w) == size


def test_several_scales_want_the_original():
    cfg = load_config(str(NAMED[0]), ["train.tta.enabled=true"])
    assert cfg.dataloader.test.mapper.keep_original and not loaded(NAMED[0]).dataloader.test.mapper.keep_original
