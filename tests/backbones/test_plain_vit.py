"""Small versions of every family of plain ViTs in timm."""

import pytest
import timm
import torch

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.weights import load_timm_weights
from tokenseg.d2_compat import pad_to_batch
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.inference.policy import SlidingWindow
from tokenseg.segmentor import Segmentor

TOY = dict(embed_dim=48, depth=2, num_heads=3)
FAMILIES = {
    "vit": "vit_tiny_patch16_224",
    "deit3": "deit3_small_patch16_224",
    "dinov2": "vit_small_patch14_dinov2",
    "dinov2_registers": "vit_small_patch14_reg4_dinov2",
    "dinov3": "vit_small_patch16_dinov3",
    "eva02": "eva02_tiny_patch14_224",
    "eva02_large": "eva02_base_patch14_448",  # from this size on, query, key and value have separate weights
    "beit": "beit_base_patch16_224",
}
ANY_SIZE = [family for family in FAMILIES if family != "beit"]


def patch_of(family):
    return 14 if "patch14" in FAMILIES[family] else 16


def toy_vit(family, *, side=4, out_blocks=(0, 1), timm_args=None, pretrained=False, **args):
    """Build a ViT of two blocks with 48 channels, for `side` x `side` patches."""
    return PlainViT(
        model_name=FAMILIES[family],
        img_size=side * patch_of(family),
        out_blocks=out_blocks,
        pretrained=pretrained,
        timm_args=TOY | (timm_args or {}),
        **args,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_what_it_publishes(family):
    backbone, patch = toy_vit(family, out_blocks=[1, 0]), patch_of(family)
    maps = backbone(torch.randn(2, 3, 4 * patch, 4 * patch))
    assert list(maps) == ["block0", "block1"]
    for name, shape in backbone.output_shape().items():
        assert (shape.channels, shape.stride) == (48, patch)
        assert maps[name].shape == (2, 48, 4, 4)


def test_channels_of_tokens_and_maps_lie_side_by_side():
    backbone, seen = toy_vit("vit", timm_args={"class_token": False}), []
    for block in backbone.vit.blocks:
        block.norm1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    maps = backbone(torch.randn(2, 3, 64, 48))
    assert seen == [True, True] and all(x.stride(1) == 1 for x in maps.values())


@pytest.mark.parametrize("family", ANY_SIZE)
def test_odd_and_oblong_images_of_one_batch(family):
    backbone, patch = toy_vit(family), patch_of(family)
    batch, sizes = pad_to_batch([torch.randn(3, 37, 50), torch.randn(3, 1, 81)], backbone)
    assert sizes == [(37, 50), (1, 81)]
    assert backbone(batch)["block1"].shape[-2:] == (-(-37 // patch), -(-81 // patch))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("out_blocks", [[0], [0, 1]])
def test_every_parameter_gets_a_gradient(family, out_blocks, gradients):
    backbone, side = toy_vit(family, out_blocks=out_blocks), 4 * patch_of(family)
    found = gradients(backbone, torch.randn(2, 3, side, side))
    assert [name for name, value in found.items() if value is None or not value.isfinite().all()] == []
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert len(backbone.vit.blocks) == max(out_blocks) + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_activation_checkpointing_changes_no_gradient(family, gradients):
    images, found = torch.randn(2, 3, 4 * patch_of(family), 4 * patch_of(family)), []
    for enabled in (False, True):
        torch.manual_seed(1)
        backbone = toy_vit(family, drop_path_rate=0.3, activation_checkpointing=enabled)
        found.append(gradients(backbone, images))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("family", FAMILIES)
def test_codes_and_norms_have_no_weight_decay(family, without_decay):
    backbone = toy_vit(family)
    exempt = without_decay(backbone)
    codes = ("pos_embed", "cls_token", "reg_token", "relative_position_bias_table")
    special = {name for name, _ in backbone.named_parameters() if name.endswith(codes) or ".norm" in name}
    assert special and special <= exempt
    assert not [name for name in exempt if "qkv" in name or "fc" in name]


@pytest.mark.parametrize("family", ANY_SIZE)
@pytest.mark.parametrize("grid", [(4, 4), (3, 7)])
def test_another_size_sees_the_codes_of_a_model_made_for_it(family, grid, tmp_path):
    backbone, patch = toy_vit(family).eval(), patch_of(family)
    args = dict(model_name=FAMILIES[family], img_size=(grid[0] * patch, grid[1] * patch), num_classes=0, global_pool="")
    native = timm.create_model(**args, **TOY).eval()
    torch.save(backbone.vit.state_dict(), tmp_path / "weights.pth")
    load_timm_weights(native, args | TOY, weights_file=str(tmp_path / "weights.pth"))
    images = torch.randn(1, 3, *args["img_size"])
    wanted = native.forward_intermediates(images, indices=[1], intermediates_only=True)[0]
    torch.testing.assert_close(backbone(images)["block1"], wanted)


def test_position_codes_matter():
    backbone, images = toy_vit("vit").eval(), torch.randn(1, 3, 64, 64)
    before = backbone(images)["block1"]
    torch.nn.init.normal_(backbone.vit.pos_embed)
    assert not torch.allclose(before, backbone(images)["block1"])


def test_beit_takes_its_own_size_alone():
    backbone = toy_vit("beit")
    with pytest.raises(ValueError, match=r"80x64 pixels; this model only takes 64x64.*SlidingWindow\(window=64\)"):
        backbone(torch.randn(1, 3, 80, 64))


def test_beit_segments_any_image_in_windows():
    head = PerPixelHead(in_feature="block1", layers=torch.nn.Conv2d(48, 5, 1))
    model = Segmentor(
        backbone=toy_vit("beit"),
        sem_seg_head=head,
        pixel_mean=[127.5] * 3,
        pixel_std=[127.5] * 3,
        inference=SlidingWindow(window=64, stride=40),
    ).eval()
    for size in [(64, 64), (20, 90), (101, 77)]:
        with torch.no_grad():
            result = model([{"image": torch.zeros(3, *size)}])
        assert result[0]["sem_seg"].shape == (5, *size)


def test_sides_that_are_no_multiple_of_the_patch():
    with pytest.raises(ValueError, match="56x60 pixels; wanted multiples of 14"):
        toy_vit("dinov2")(torch.randn(1, 3, 56, 60))


def test_maps_at_the_strides_of_a_hierarchical_model():
    backbone = toy_vit("vit", side=4, out_strides=[8, 32])
    assert backbone.size_divisibility == 32
    assert [shape.stride for shape in backbone.output_shape().values()] == [8, 32]
    images = torch.randn(1, 3, 64, 96)
    fine, coarse = backbone(images).values()
    assert fine.shape[-2:] == (8, 12) and coarse.shape[-2:] == (2, 3)
    backbone._out_feature_strides = dict.fromkeys(backbone._out_features, 16)
    _, block1 = backbone(images).values()
    torch.testing.assert_close(
        coarse, torch.nn.functional.avg_pool2d(block1, 2)
    )  # what bilinear resizing to half the size computes


@pytest.mark.parametrize("out_strides", [[16], [16, 12], [0, 16]])
def test_strides_that_do_not_fit(out_strides):
    with pytest.raises(ValueError, match="wanted 2, one for each of out_blocks, that divide the patch of 16"):
        toy_vit("vit", out_strides=out_strides)
    with pytest.raises(ValueError, match="divide img_size"):
        toy_vit("beit", side=3, out_strides=[16, 32])


def test_without_class_token():
    backbone = toy_vit("vit", timm_args=dict(class_token=False))
    assert "vit.cls_token" not in backbone.state_dict() and backbone.vit.pos_embed.shape[1] == 16
    assert backbone(torch.randn(1, 3, 48, 64))["block1"].shape == (1, 48, 3, 4)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(model_name="vit_tiny_patch16_225"), "no model 'vit_tiny_patch16_225'; similar names: vit_tiny_patch16"),
        (dict(model_name="vit_tiny_patch16_224.mine"), r"no weights.*it has vit_tiny_patch16_224\.augreg_in21k"),
        (dict(out_blocks=[1, 12]), "out_blocks are .*wanted blocks from 0 to 11"),
        (dict(out_blocks=[]), "out_blocks are"),
        (dict(model_name="resnet18"), "strides .*wanted a plain model .or use TimmPyramid"),
        (dict(timm_args=dict(windows=7)), "cannot build.*windows"),
    ],
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        PlainViT(**(dict(model_name="vit_tiny_patch16_224", img_size=32, out_blocks=[1]) | args))


def test_sine_codes_are_fixed_and_tell_rows_from_columns():
    args = dict(embed_dim=48, depth=1, num_heads=3, class_token=False)
    vit = PlainViT(
        model_name="vit_tiny_patch16_224",
        img_size=64,
        out_blocks=[0],
        pretrained=False,
        position_codes="sine",
        timm_args=args,
    )
    codes = vit.vit.pos_embed
    assert not codes.requires_grad and "vit.pos_embed" in vit.state_dict()
    of_rows, of_columns = codes[0].unflatten(0, (4, 4)).chunk(2, dim=2)
    assert torch.equal(of_rows, of_rows[:, :1].expand_as(of_rows))
    assert torch.equal(of_columns, of_columns[:1].expand_as(of_columns))
    assert len(codes[0].unique(dim=0)) == 16


def test_sine_codes_want_patches_alone():
    with pytest.raises(ValueError, match=r"position_codes is 'sine'.*class_token=false"):
        PlainViT(
            model_name="vit_tiny_patch16_224", img_size=64, out_blocks=[0], pretrained=False, position_codes="sine"
        )
    with pytest.raises(ValueError, match="position_codes is 'sines'; wanted one of learnt, sine"):
        PlainViT(
            model_name="vit_tiny_patch16_224", img_size=64, out_blocks=[0], pretrained=False, position_codes="sines"
        )
