"""Small versions of hierarchical timm models and of Detectron2's ResNet."""

from pathlib import Path

import pytest
import timm
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.d2_compat import pad_to_batch
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor

ROOT = Path(__file__).resolve().parents[2]
SWIN = dict(embed_dim=8, depths=(1, 1, 1, 2), num_heads=(1, 1, 1, 1), window_size=2)
CONVNEXT = dict(depths=(1, 1, 1, 2), dims=(8, 16, 24, 32))
RESNET = dict(layers=(1, 1, 1, 2))
RESNET_CHANNELS = [256, 512, 1024, 2048]
# model, its arguments, channels of res2 to res5
FAMILIES = {
    "swin": ("swin_tiny_patch4_window7_224", SWIN, [8, 16, 32, 64]),
    "resnet": ("resnet50", RESNET, RESNET_CHANNELS),
    "resnet_d": ("resnet101d", RESNET, RESNET_CHANNELS),
    "convnext": ("convnext_tiny", CONVNEXT, [8, 16, 24, 32]),
}
DILATED = [family for family in FAMILIES if family != "swin"]


def toy_pyramid(family, **args):
    name, timm_args, _ = FAMILIES[family]
    return TimmPyramid(**{"model_name": name, "timm_args": timm_args, "pretrained": False, **args})


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_what_it_publishes(family):
    backbone = toy_pyramid(family)
    maps = backbone(torch.randn(2, 3, 64, 96))
    assert list(maps) == ["res2", "res3", "res4", "res5"]
    for (name, shape), channels, stride in zip(
        backbone.output_shape().items(), FAMILIES[family][2], (4, 8, 16, 32), strict=True
    ):
        assert (shape.channels, shape.stride) == (channels, stride)
        assert maps[name].shape == (2, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_builds_it(family):
    name, timm_args, channels = FAMILIES[family]
    backbone = instantiate(L(TimmPyramid)(model_name=name, timm_args=timm_args, out_features=["res3", "res5"]))
    assert [shape.channels for shape in backbone.output_shape().values()] == [channels[1], channels[3]]


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_and_oblong_images_of_one_batch(family):
    backbone = toy_pyramid(family).eval()
    batch, _ = pad_to_batch([torch.randn(3, 37, 50), torch.randn(3, 1, 81)], backbone)
    with torch.no_grad():
        maps = backbone(batch)
    assert [tuple(x.shape[-2:]) for x in maps.values()] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    with pytest.raises(ValueError, match="37x81 pixels; wanted multiples of 32"):
        backbone(torch.randn(1, 3, 37, 81))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("out_features", [["res2", "res5"], ["res4", "res3"]])
def test_every_parameter_gets_a_gradient(family, out_features, gradients):
    backbone = toy_pyramid(family, out_features=out_features, out_norm=True)
    found = gradients(backbone, torch.randn(2, 3, 64, 64))
    assert [name for name, value in found.items() if value is None or not value.isfinite().all()] == []
    assert list(backbone.output_shape()) == sorted(out_features)


@pytest.mark.parametrize("family", FAMILIES)
def test_activation_checkpointing_changes_no_gradient(family, gradients):
    images, found = torch.randn(2, 3, 64, 64), []
    for enabled in (False, True):
        torch.manual_seed(1)
        backbone = toy_pyramid(family, drop_path_rate=0.3, activation_checkpointing=enabled)
        found.append(gradients(backbone, images))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_norms_and_relative_positions_have_no_weight_decay(without_decay):
    backbone = toy_pyramid("swin", out_norm=True)
    special = {name for name, _ in backbone.named_parameters() if "relative_position" in name or "norm" in name}
    assert len(special) > 30 and special <= without_decay(backbone)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_swin_equals_a_model_made_for_that_size(size):
    backbone = toy_pyramid("swin")
    name, args, _ = FAMILIES["swin"]
    native = timm.create_model(name, img_size=size, num_classes=0, drop_path_rate=0.0, **args)
    # Created for 64 pixels, at which the last stage fits into one window, and then run on larger images.
    naive = timm.create_model(name, img_size=64, strict_img_size=False, num_classes=0, drop_path_rate=0.0, **args)
    for model in (native, naive):
        missing = model.load_state_dict(backbone.trunk.state_dict(), strict=False).missing_keys
        assert missing == ["norm.weight", "norm.bias"]
    images = torch.randn(1, 3, *size)
    wanted, shifts_lost = (
        model.eval().forward_intermediates(images, intermediates_only=True) for model in (native, naive)
    )
    torch.testing.assert_close(list(backbone.eval()(images).values()), wanted)
    torch.testing.assert_close(shifts_lost[:3], wanted[:3])
    assert not torch.allclose(shifts_lost[3], wanted[3], atol=1e-2)


def test_swin_takes_images_smaller_than_its_windows():
    timm_args = SWIN | dict(window_size=7)
    backbone = TimmPyramid(model_name="swin_tiny_patch4_window7_224", timm_args=timm_args, pretrained=False)
    assert backbone(torch.randn(1, 3, 32, 32))["res5"].isfinite().all()


@pytest.mark.parametrize("family", DILATED)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_maps_are_finer_and_need_the_same_weights(family, output_stride):
    backbone, plain = toy_pyramid(family, output_stride=output_stride), toy_pyramid(family)
    backbone.load_state_dict(plain.state_dict())
    assert backbone.size_divisibility == output_stride
    maps = backbone.eval()(torch.randn(1, 3, 64, 64 + output_stride))
    for name, stride in zip(maps, (4, 8, 16, 32), strict=True):
        stride = min(stride, output_stride)
        assert backbone.output_shape()[name].stride == stride
        assert maps[name].shape[-2:] == (64 // stride, (64 + output_stride) // stride)


def test_every_fourth_value_of_a_dilated_resnet_is_the_plain_one():
    backbone, plain = toy_pyramid("resnet", output_stride=8).eval(), toy_pyramid("resnet").eval()
    backbone.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 128, 64)
    torch.testing.assert_close(backbone(images)["res5"][..., ::4, ::4], plain(images)["res5"], rtol=1e-4, atol=1e-4)


def test_out_norm_is_over_channels():
    maps = toy_pyramid("swin", out_norm=True)(torch.randn(1, 3, 64, 64))
    for values in maps.values():
        torch.testing.assert_close(values.mean(dim=1), torch.zeros_like(values[:, 0]), atol=1e-5, rtol=0)


def test_out_norm_has_swins_epsilon():
    features = 1e-3 * torch.randn(2, 3, 5, 8)
    found = toy_pyramid("swin", out_norm=True).out_norms.res2(features.permute(0, 3, 1, 2))
    torch.testing.assert_close(found.permute(0, 2, 3, 1), torch.nn.LayerNorm(8)(features))


def test_drop_path_is_what_is_asked():
    plain = toy_pyramid("swin").trunk.layers[3].blocks[1]  # timm's own default for Swin is 0.1
    assert isinstance(plain.drop_path2, torch.nn.Identity)
    assert toy_pyramid("swin", drop_path_rate=0.3).trunk.layers[3].blocks[1].drop_path2.drop_prob == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(model_name="swin_tiny_patch4_window7_225"), "no model.*similar names: swin_tiny_patch4_window7_224"),
        (dict(model_name="vit_tiny_patch16_224"), "wanted a hierarchical model.*PlainViT"),
        (dict(output_stride=8), "cannot build swin_tiny.*output_stride"),
        (dict(model_name="resnet18", output_stride=4), "cannot build resnet18"),
        (dict(model_name="levit_128"), "wanted a hierarchical model"),
        (dict(out_features=["res1"]), "out_features are .*wanted some of res2, res3"),
        (dict(norm="LN"), "norm is 'LN'; wanted one of BN, SyncBN, FrozenBN"),
    ],
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        TimmPyramid(**(dict(model_name="swin_tiny_patch4_window7_224") | args))


def test_detectron2_resnet_pads_nothing_and_segments_odd_images():
    config = LazyConfig.load(str(ROOT / "configs/common/backbones/resnet_d2.py")).resnet50
    backbone = instantiate(config)
    assert backbone.size_divisibility == 0
    head = PerPixelHead(in_feature="res5", layers=torch.nn.Conv2d(2048, 3, 1))
    model = Segmentor(backbone=backbone, sem_seg_head=head, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 37, 50))["res5"].shape == (1, 2048, 2, 2)
        result = model([{"image": torch.zeros(3, 37, 50)}])
    assert result[0]["sem_seg"].shape == (3, 37, 50)
