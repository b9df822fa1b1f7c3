"""The weights of MaskFormer's and Mask2Former's checkpoints have their places, name by name and shape by shape."""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from shapes import shapes_only
from tokenseg.commands.convert_weights import rules_for
from tokenseg.config.load import load_config
from tokenseg.weight_rules import convert

CONFIGS = Path(__file__).resolve().parents[2] / "configs/sgr"
HEAD = dict(W=256, K=150, Q=100, E=6)
SWIN_T = dict(C=96, H=3, W=7, A=2, B=2, D=6, E=2)
R101 = dict(C=64, A=3, B=4, D=23, E=3)
RESNET_MAPS = dict(R2=256, R3=512, R4=1024, R5=2048)
# Config, variant and sizes of the backbone, kind and sizes of the head.
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
    """Function: the model of a released checkpoint on `meta`, with 150 classes, and the checkpoint's weights."""

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
    with pytest.raises(ValueError, match=r"127 that no rule knows: .*adapter_2"):
        convert(state, model.state_dict(), rules_for(model))
