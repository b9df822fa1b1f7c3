"""The overrides that the page names build the models that it says."""

from pathlib import Path

import pytest
from detectron2.config import instantiate
from torch import nn

from shapes import shapes_only
from tokenseg.config.load import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs/segvit"


def build(name, *overrides):
    cfg = load_config(str(CONFIGS / f"{name}.py"), overrides)
    with shapes_only():
        return instantiate(cfg.model)


@pytest.mark.parametrize("blocks", [[11], [5, 11], [2, 5, 8, 11]])
def test_levels(blocks):
    model = build("segvit_vit_b_ade20k_512_160k", f"model.backbone.out_blocks={blocks}")
    assert list(model.backbone.output_shape()) == [f"block{block}" for block in blocks]
    assert model.sem_seg_head.bases.in_features == [f"block{block}" for block in reversed(blocks)]
    assert len(model.sem_seg_head.levels) == len(blocks)
    assert model.sem_seg_head.size_feature == f"block{blocks[0]}"


@pytest.mark.parametrize(
    ("kind", "override"),
    [
        ("QueryDownsample", "sample={_target_: tokenseg.segvit.shrunk.ConvSampling, channels: 1024}"),
        ("TokenDownsample", "_target_=tokenseg.segvit.shrunk.TokenDownsample"),
    ],
)
def test_ways_to_sample(kind, override):
    backbone = build("segvit_shrunk_vit_l_ade20k_640_160k", f"model.backbone.downsample.{override}").backbone
    assert type(backbone.downsample).__name__ == kind and backbone.downsample.block == 8
    assert sum(p.numel() for p in backbone.downsample.parameters()) == (kind == "QueryDownsample") * (
        4 * 1024**2 + 1024
    )


def test_original_weights():
    model = build("segvit_vit_l_ade20k_640_160k", "vit.model_name=vit_large_patch16_224.orig_in21k")
    assert model.backbone.vit.pretrained_cfg["tag"] == "orig_in21k"


def test_norms_of_the_head_decay_and_those_of_the_backbone_do_not():
    cfg = load_config(str(CONFIGS / "segvit_shrunk_vit_b_ade20k_512_160k.py"))
    with shapes_only():
        model = cfg.optimizer.params.model = instantiate(cfg.model)
    decays = {id(p): group["weight_decay"] for group in instantiate(cfg.optimizer.params) for p in group["params"]}
    norms = [(path, part) for path, part in model.named_modules() if isinstance(part, nn.LayerNorm)]
    found = {(path.split(".")[0], decays[id(p)]) for path, norm in norms for p in norm.parameters()}
    assert found == {("backbone", 0.0), ("sem_seg_head", 0.01)}
