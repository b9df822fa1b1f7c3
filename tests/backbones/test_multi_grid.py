"""Separate dilations for the blocks of res5, as in Detectron2's DeepLab."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.projects.deeplab import add_deeplab_config, build_resnet_deeplab_backbone
from torch import nn

from tokenseg.backbones.official_pyramids import official_pyramid_rules
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.weight_rules import convert

R101C = dict(model_name="resnet101", timm_args=dict(stem_type="deep", stem_width=64), multi_grid=(1, 2, 4))
TINY = dict(stem_type="deep", stem_width=4, channels=(4, 8, 16, 32))


def tiny(**args):
    return TimmPyramid(**(dict(model_name="resnet50", pretrained=False, timm_args=TINY) | args))


def detectron2_deeplab(*, output_stride, multi_grid):
    """Build Detectron2's R-52 with an eighth of the channels, from its yacs config."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    resnets = cfg.MODEL.RESNETS
    resnets.STEM_TYPE, resnets.STEM_OUT_CHANNELS, resnets.NORM = "deeplab", 8, "FrozenBN"
    resnets.RES2_OUT_CHANNELS, resnets.WIDTH_PER_GROUP, resnets.STRIDE_IN_1X1 = 16, 4, False
    resnets.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    resnets.RES5_DILATION, resnets.RES5_MULTI_GRID = 32 // output_stride, list(multi_grid)
    return build_resnet_deeplab_backbone(cfg, ShapeSpec(channels=3)).eval()


def geometry(conv):
    return conv.stride[0], conv.dilation[0], conv.padding[0]


@pytest.mark.parametrize(
    ("output_stride", "wanted"),
    [(32, [(2, 1, 1), (1, 2, 2), (1, 4, 4)]), (16, [(1, 2, 2), (1, 4, 4), (1, 8, 8)])],
)
def test_stride_dilation_and_padding_equal_detectron2s(output_stride, wanted):
    ours = tiny(multi_grid=(1, 2, 4), output_stride=output_stride).trunk
    theirs = detectron2_deeplab(output_stride=output_stride, multi_grid=(1, 2, 4))
    assert [geometry(block.conv2) for block in ours.layer4] == wanted
    assert [geometry(block.conv2) for block in theirs.res5] == wanted
    stride = (wanted[0][0], 1, 0)
    assert geometry(ours.layer4[0].downsample[0]) == geometry(theirs.res5[0].shortcut) == stride


@pytest.mark.parametrize("output_stride", [32, 16])
@pytest.mark.parametrize("multi_grid", [(1, 2, 4), (1, 1, 1)])
def test_maps_equal_detectron2s(output_stride, multi_grid):
    theirs = detectron2_deeplab(output_stride=output_stride, multi_grid=multi_grid)
    for name, value in theirs.double().state_dict().items():
        value.copy_(torch.rand_like(value) + 0.5 if "norm" in name else 0.1 * torch.randn_like(value))
    ours = tiny(output_stride=output_stride, multi_grid=multi_grid, norm="FrozenBN").double().eval()
    pair = (nn.ModuleDict({"backbone": backbone}).state_dict() for backbone in (theirs, ours))
    converted, dropped = convert(*pair, official_pyramid_rules(ours))
    nn.ModuleDict({"backbone": ours}).load_state_dict(converted)
    assert dropped == []
    images = torch.randn(1, 3, 96, 160, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), dict(theirs(images)), rtol=1e-9, atol=1e-9)


def test_r101c_has_the_official_number_of_parameters(released_shapes):
    sizes = dict(S=128, C=64, A=3, B=4, D=23, E=3)
    shapes = released_shapes("backbones/detectron2_resnet.txt", "r101c", **sizes)
    with torch.device("meta"):
        backbone = TimmPyramid(pretrained=False, **R101C)
        timms_name = TimmPyramid(model_name="resnet101s", pretrained=False, multi_grid=(1, 2, 4))
    wanted = sum(torch.Size(shape).numel() for name, shape in shapes.items() if "running" not in name)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == wanted == 42_623_936
    assert str(backbone) == str(timms_name)


def test_maps_keep_their_shapes_and_weights_their_names():
    plain, grid = tiny(), tiny(multi_grid=[1, 2, 4])
    for parameter in plain.parameters():
        torch.nn.init.normal_(
            parameter
        )  # timm initialises the last norm of each block with 0, which would hide the block
    grid.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 96)
    wanted, found = plain.eval()(images), grid.eval()(images)
    assert grid.output_shape() == plain.output_shape()
    assert [x.shape for x in found.values()] == [x.shape for x in wanted.values()]
    torch.testing.assert_close(found["res4"], wanted["res4"])
    assert not torch.allclose(found["res5"], wanted["res5"], atol=1e-2)


def test_it_draws_no_random_numbers_and_every_weight_learns(gradients):
    states = []
    for multi_grid in (None, (1, 2, 4)):
        torch.manual_seed(1)
        states.append(tiny(multi_grid=multi_grid).state_dict() | {"next number": torch.rand(1)})
    torch.testing.assert_close(*states)
    found = gradients(tiny(multi_grid=(1, 2, 4), activation_checkpointing=True), torch.randn(2, 3, 64, 64))
    assert [name for name, value in found.items() if value is None] == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            dict(multi_grid=(1, 2)),
            r"res5 the dilations \[1, 2\]; wanted a dilation of at least 1 for each of its 3 blocks",
        ),
        (dict(multi_grid=(1, 0, 2)), r"dilations \[1, 0, 2\]; wanted a dilation of at least 1"),
        (dict(model_name="resnet18", timm_args={}, multi_grid=(1, 2)), "wanted a ResNet of bottleneck blocks"),
        (dict(model_name="convnext_tiny", timm_args={}, multi_grid=(1, 2, 4)), "set for a ConvNeXt; wanted a ResNet"),
        (dict(multi_grid=(1, 2, 4), out_features=["res4"]), r"for res5, but out_features are \['res4'\]"),
    ],
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        tiny(**args)
