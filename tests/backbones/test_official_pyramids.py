"""The rules for backbones in MaskFormer's and Mask2Former's checkpoints yield all names with the right shapes."""

import pytest
import torch
from torch import nn

from tokenseg.backbones.official_pyramids import official_pyramid_rules
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.weight_rules import convert

SWINS = {
    "swin_tiny_patch4_window7_224": dict(C=96, H=3, W=7, A=2, B=2, D=6, E=2),
    "swin_large_patch4_window12_384": dict(C=192, H=6, W=12, A=2, B=2, D=18, E=2),
}
BLOCKS = dict(C=64, A=3, B=4, D=23, E=3)
PLAIN, DEEP = dict(S=64, **BLOCKS), dict(S=128, **BLOCKS)
DEEP_STEM = dict(stem_type="deep", stem_width=64)


def pyramid(model_name, **args):
    with torch.device("meta"):
        return TimmPyramid(model_name=model_name, pretrained=False, **args)


def convert_for(backbone, shapes):
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    wanted = nn.ModuleDict({"backbone": backbone}).state_dict()
    return convert(state, wanted, official_pyramid_rules(backbone))


@pytest.mark.parametrize("name", SWINS)
def test_swin(name, released_shapes):
    shapes = released_shapes("backbones/official_swin.txt", **SWINS[name])
    converted, dropped = convert_for(pyramid(name, out_norm=True), shapes)
    assert {key.split(".")[-1] for key in dropped} == {"relative_position_index"}
    assert len(converted) == len(shapes) - len(dropped)


def test_swin_merges_at_the_other_end_of_a_stage(released_shapes):
    sizes = dict(C=8, H=1, W=4, A=2, B=2, D=2, E=2)
    shapes = released_shapes("backbones/official_swin.txt", **sizes)
    state = {name: torch.full(shape, float(place)) for place, (name, shape) in enumerate(shapes.items())}
    timm_args = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=4)
    backbone = TimmPyramid(
        model_name="swin_tiny_patch4_window7_224", pretrained=False, out_norm=True, timm_args=timm_args
    )
    wanted = nn.ModuleDict({"backbone": backbone}).state_dict()
    converted, _ = convert(state, wanted, official_pyramid_rules(backbone))
    for theirs, ours in {
        "layers.1.downsample.reduction.weight": "trunk.layers.2.downsample.reduction.weight",
        "layers.2.blocks.1.attn.qkv.bias": "trunk.layers.2.blocks.1.attn.qkv.bias",
        "norm3.weight": "out_norms.res5.weight",
    }.items():
        torch.testing.assert_close(converted[f"backbone.{ours}"], state[f"backbone.{theirs}"])


@pytest.mark.parametrize(
    ("variant", "sizes", "timm_args", "norm"),
    [
        ("r101", PLAIN, {}, "FrozenBN"),
        ("r101_trainable", PLAIN, {}, "BN"),
        ("r101c", DEEP, DEEP_STEM, "FrozenBN"),
    ],
)
def test_resnet(variant, sizes, timm_args, norm, released_shapes):
    backbone = pyramid("resnet101", norm=norm, timm_args=timm_args)
    shapes = released_shapes("backbones/detectron2_resnet.txt", variant, **sizes)
    converted, dropped = convert_for(backbone, shapes)
    assert dropped == [] and len(converted) == len(shapes)


def test_counts_of_batches_are_dropped_where_ours_are_frozen(released_shapes):
    shapes = released_shapes("backbones/detectron2_resnet.txt", "r101_trainable", **PLAIN)
    _, dropped = convert_for(pyramid("resnet101", norm="FrozenBN"), shapes)
    assert len(dropped) == 104 and {name.split(".")[-1] for name in dropped} == {"num_batches_tracked"}
    with pytest.raises(ValueError, match=r"104 missing for the model: backbone\.trunk\.bn1\.num_batches_tracked"):
        convert_for(pyramid("resnet101"), {name: shapes[name] for name in shapes if name not in dropped})


def test_another_backbone_is_told(released_shapes):
    shapes = released_shapes("backbones/detectron2_resnet.txt", "r101c", **DEEP)
    with pytest.raises(ValueError, match=r"that no rule matches: backbone\.stem\.conv2\.weight.*of another shape"):
        convert_for(pyramid("resnet101", norm="FrozenBN"), shapes)
    with pytest.raises(ValueError, match="no official weights are known for the backbone ConvNeXt; wanted a Swin"):
        official_pyramid_rules(pyramid("convnext_tiny"))
