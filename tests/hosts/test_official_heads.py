"""MaskFormer's and Mask2Former's checkpoints can be loaded, and the scores equal those of the authors' code.

The scores come from the authors' code, run once on weights and an image that are given here in closed form.
"""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from closed_form import closed_form, wave
from shapes import shapes_only
from tokenseg.commands.convert_weights import rules_for
from tokenseg.config.load import load_config
from tokenseg.weight_rules import convert

CONFIGS = Path(__file__).resolve().parents[2] / "configs/sgr"
HEAD = dict(W=256, K=150, Q=100, E=6, F=1024)
SWIN_T = dict(C=96, H=3, W=7, A=2, B=2, D=6, E=2)
R101 = dict(C=64, A=3, B=4, D=23, E=3)
RESNET_MAPS = dict(R2=256, R3=512, R4=1024, R5=2048)
# The config, the variant and sizes of the backbone, and the class and sizes of the head.
RELEASED = {
    "mask2former_swin_t": (
        "mask2former_swin_t_coco_stuff_10k_512_60k",
        ("backbones/official_swin.txt", None, SWIN_T),
        ("mask2former", dict(R2=96, R3=192, R4=384, R5=768, L=9)),
    ),
    "mask2former_r101": (
        "mask2former_resnet_101_cityscapes_768_80k",
        ("backbones/detectron2_resnet.txt", "r101_trainable", dict(S=64, **R101)),
        ("mask2former", dict(L=9, **RESNET_MAPS)),
    ),
    "mask_former_r101": (
        "mask_former_resnet_101_cityscapes_768_80k",
        ("backbones/detectron2_resnet.txt", "r101", dict(S=64, **R101)),
        ("mask_former", dict(L=6, **RESNET_MAPS)),
    ),
    "mask_former_r101c": (
        "mask_former_resnet_101c_ade20k_512_160k",
        ("backbones/detectron2_resnet.txt", "r101c", dict(S=128, **R101)),
        ("mask_former", dict(L=6, **RESNET_MAPS)),
    ),
}


@pytest.fixture
def released(released_shapes):
    """A function that returns the model of a released checkpoint and the weights of the checkpoint, both on `meta`."""

    def read(name):
        config, (file, variant, sizes), (kind, maps) = RELEASED[name]
        shapes = released_shapes(file, variant, **sizes)
        shapes |= released_shapes("hosts/released_heads.txt", kind, **HEAD, **maps)
        with shapes_only():
            model = instantiate(load_config(str(CONFIGS / f"{config}.py"), ["dataset.num_classes=150"]).model)
        return model, {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}

    return read


@pytest.mark.parametrize("name", RELEASED)
def test_every_weight_has_its_place(name, released):
    model, state = released(name)
    converted, dropped = convert(state, model.state_dict(), rules_for(model))
    assert {key.split(".")[-1] for key in dropped} <= {"empty_weight", "relative_position_index"}
    packed = sum("in_proj" in key and "predictor" in key and "input" not in key for key in state)
    assert len(converted) == len(state) - len(dropped) + 2 * packed
    model.load_state_dict(converted, assign=True)


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [
        ("mask2former_swin_t", "predictor.query_feat", "predictor.static_query"),
        ("mask_former_r101", "sem_seg_head.pixel_decoder.", "sem_seg_head."),
    ],
)
def test_older_names(name, new, old, released):
    model, state = released(name)
    renamed = {key.replace(new, old): value for key, value in state.items()}
    assert set(renamed) != set(state)
    converted, _ = convert(renamed, model.state_dict(), rules_for(model))
    assert set(converted) == set(model.state_dict())


def test_queries_keys_and_values_come_apart(released):
    model, _ = released("mask_former_r101")
    theirs = "sem_seg_head.predictor.transformer.decoder.layers.3.multihead_attn.in_proj_bias"
    wanted = {key: value for key, value in model.state_dict().items() if ".layers.3.cross_attention.attention." in key}
    wanted = {key: value for key, value in wanted.items() if key.endswith(("query.bias", "key.bias", "value.bias"))}
    converted, _ = convert({theirs: torch.arange(768.0)}, wanted, rules_for(model))
    assert [(key.split(".")[-2], float(value[0])) for key, value in converted.items()] == [
        ("query", 0),
        ("key", 256),
        ("value", 512),
    ]


def test_another_checkpoint_is_told(released):
    _, state = released("mask_former_r101")
    model, _ = released("mask2former_r101")
    with pytest.raises(ValueError, match=r"127 that no rule matches: .*adapter_2"):
        convert(state, model.state_dict(), rules_for(model))


# Heads with 32 channels, 5 queries and 4 classes. For images of 64 x 96 pixels, the windows of Swin divide no map.
TINY_HEAD = dict(W=32, K=4, Q=5, E=1, F=1024)
TINY_OVERRIDES = [
    "dataset.num_classes=4",
    *(f"model.sem_seg_head.{part}" for part in ("width=32", "num_queries=5", "hidden=256")),
]
TINY = {
    "mask2former_swin_t": (
        [
            "pyramid={model_name: swin_tiny_patch4_window7_224, channels: [8, 16, 32, 64]}",
            "model.backbone.timm_args={embed_dim: 8, depths: [2, 2, 2, 2], num_heads: [1, 2, 4, 8], window_size: 5}",
            "model.sem_seg_head.num_encoder_layers=1",
            "model.sem_seg_head.num_layers=3",
        ],
        dict(C=8, H=1, W=5, A=2, B=2, D=2, E=2),
        dict(R2=8, R3=16, R4=32, R5=64, L=3),
        [[0.8725988, 0.1040825, 0.9127161, 2.3200884], [0.8875414, 0.105863, 0.9285044, 2.359755]],
    ),
    "mask_former_r101c": (
        [
            "pyramid={model_name: resnet50, channels: [16, 32, 64, 128]}",
            "model.backbone.timm_args={channels: [4, 8, 16, 32], stem_type: deep, stem_width: 16}",
            "model.sem_seg_head.num_layers=2",
        ],
        dict(S=32, C=4, A=3, B=4, D=6, E=3),
        dict(R2=16, R3=32, R4=64, R5=128, L=2),
        [[1.4893992, 1.906606, 0.0924908, 0.3989365], [1.2914888, 1.6531607, 0.0801974, 0.3459404]],
    ),
}


@pytest.mark.parametrize("name", TINY)
def test_scores_equal_those_of_the_authors_code(name, released_shapes):
    config, (file, variant, _), (kind, _) = RELEASED[name]
    overrides, sizes, maps, wanted = TINY[name]
    shapes = released_shapes(file, variant, **sizes) | released_shapes(
        "hosts/released_heads.txt", kind, **TINY_HEAD, **maps
    )
    constant = {key for key in shapes if key.endswith(("relative_position_index", "empty_weight"))}
    state = {key: torch.zeros(shapes[key]) for key in constant}
    state |= {key: closed_form(key, shapes[key], n) for n, key in enumerate(sorted(set(shapes) - constant), 1)}
    model = instantiate(load_config(str(CONFIGS / f"{config}.py"), [*TINY_OVERRIDES, *overrides]).model).eval()
    model.load_state_dict(convert(state, model.state_dict(), rules_for(model))[0])
    with torch.no_grad():
        scores = model([{"image": 128 + 100 * wave((3, 64, 96), 3).float()}])[0]["sem_seg"]
    for (y, x), values in zip([(20, 37), (60, 90)], wanted, strict=True):
        assert scores[:, y, x].tolist() == pytest.approx(values, abs=1e-4)
