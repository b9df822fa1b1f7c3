"""The levels of a feature pyramid that is computed from one map."""

import pytest
import torch
import torch.nn.functional as F

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.simple_pyramid import SimplePyramid
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def toy_vit(model_name="vit_tiny_patch16_224", img_size=64):
    args = dict(embed_dim=48, depth=2, num_heads=3)
    return PlainViT(model_name=model_name, img_size=img_size, out_blocks=[1], pretrained=False, timm_args=args)


def pyramid(net=None, **args):
    return SimplePyramid(**{"net": net or toy_vit(), "in_feature": "block1", "out_channels": 8} | args)


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_maps_are_what_it_publishes(size):
    backbone = pyramid()
    maps = backbone(torch.randn(2, 3, *size))
    assert backbone.size_divisibility == 32 and list(maps) == list(STRIDES)
    for name, shape in backbone.output_shape().items():
        assert (shape.channels, shape.stride) == (8, STRIDES[name])
        assert maps[name].shape == (2, 8, *(-(-side // shape.stride) for side in size))
    assert torch.equal(maps["p6"], maps["p5"][..., ::2, ::2])


@pytest.mark.parametrize("names", [["p4"], ["p3", "p2"], ["p6"]])
def test_only_what_is_asked_for_is_built(names, gradients):
    backbone = pyramid(out_features=names)
    found = gradients(backbone, torch.randn(2, 3, 64, 64))
    assert set(backbone.levels) == {"p5" if name == "p6" else name for name in names}
    assert [name for name, value in found.items() if value is None or not value.any()] == []
    assert list(backbone.output_shape()) == [name for name in STRIDES if name in names]


def test_levels_by_hand():
    """As in the paper: transposed convolutions halve the channels, and norms make the mean of a cell's channels 0."""
    backbone = pyramid().eval()
    x = backbone.net(images := torch.randn(1, 3, 64, 64))["block1"]

    def norm(x):
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()

    up, first, _, second = backbone.levels["p3"][0], backbone.levels["p3"][1], *backbone.levels["p3"][2:4]
    assert up.weight.shape == (48, 24, 2, 2) and first.weight.shape == (8, 24, 1, 1) and first.bias is None
    wanted = norm(F.conv2d(norm(F.conv2d(up(x), first.weight)), second.weight, padding=1))
    torch.testing.assert_close(backbone(images)["p3"], wanted)
    pooled = F.conv2d(F.max_pool2d(x, 2), backbone.levels["p5"][1].weight)
    wanted = norm(F.conv2d(norm(pooled), backbone.levels["p5"][3].weight, padding=1))
    torch.testing.assert_close(backbone(images)["p5"], wanted)


def test_finest_level_by_its_layers():
    layers = [type(layer).__name__ for layer in pyramid().levels["p2"]]
    assert layers == ["ConvTranspose2d", "LayerNorm2d", "GELU", "ConvTranspose2d", *["Conv2d", "LayerNorm2d"] * 2]


def test_over_a_component_and_for_detectron2s_main():
    net = ReasoningBackbone(backbone=toy_vit(), components={"block1": GloRe(channels=48, num_nodes=4, width=8)})
    backbone = pyramid(net, out_features=["p3", "p4"])
    assert backbone.padding_constraints == {"size_divisibility": 16} and backbone.size_divisibility == 16
    assert set(backbone(torch.randn(1, 3, 48, 80))) == {"p3", "p4"}
    assert pyramid(toy_vit("beit_base_patch16_224")).padding_constraints == {"size_divisibility": 64}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(in_feature="block0"), "in_feature is 'block0'; wanted a map of the backbone: block1"),
        (dict(out_features=["p7"]), r"out_features are \['p7'\]; wanted some of p2, p3, p4, p5, p6"),
        (dict(out_features=[]), "out_features are"),
        (dict(net=toy_vit("vit_small_patch14_dinov2", 56)), "'block1' has stride 14; wanted a power of two"),
    ],
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        pyramid(**args)
