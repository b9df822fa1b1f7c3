"""Swin with padding before the shift, as in its official code, or after it, as in timm."""

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.backbones.window_padding import PadBeforeShift
from tokenseg.weight_rules import WeightRule, convert, layer_rules

FAMILIES = {"swin": "swin_tiny_patch4_window7_224", "swin_v2": "swinv2_tiny_window8_256"}
BLOCKS = {"swin": SwinTransformerBlock, "swin_v2": SwinTransformerV2Block}
TINY = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), window_size=4)


@pytest.fixture
def block_pair():
    """A function that returns timm's shifted block and ours, with the same weights."""

    def make(family, window=4, shift=2, **args):
        sizes = dict(dim=8, input_resolution=8, num_heads=2, window_size=window, shift_size=shift)
        theirs = BLOCKS[family](**sizes, always_partition=True, dynamic_mask=True, **args).eval()
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter)
        torch.nn.init.zeros_(theirs.norm1.bias)  # so that padded zeros remain zeros after the norm
        return theirs, PadBeforeShift(theirs).eval()

    return make


def tiny(family="swin", **args):
    timm_args = TINY | args.pop("timm_args", {})
    return TimmPyramid(model_name=FAMILIES[family], pretrained=False, timm_args=timm_args, **args)


def shake(model):
    """Make the weights large enough for attention to have an effect in every map."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0)
    return model.eval()


@pytest.mark.parametrize("family", BLOCKS)
@pytest.mark.parametrize("window", [4, (4, 6)])
def test_a_block_equals_timms_on_a_map_that_was_padded_by_hand(family, window, block_pair):
    theirs, ours = block_pair(family, window, shift=(2, 3))
    divisor = theirs.window_size
    for height, width in [(9, 10), (3, 13), (8, 12)]:
        x = torch.randn(2, height, width, 8)
        padded = F.pad(x, (0, 0, 0, -width % divisor[1], 0, -height % divisor[0]))
        torch.testing.assert_close(ours(x), theirs(padded)[:, :height, :width], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", BLOCKS)
def test_opposite_edges_do_not_see_each_other(family, block_pair):
    """In timm's order, padding is where the mask expects the rows that were moved by the shift."""
    theirs, ours = block_pair(family)
    x = torch.randn(1, 9, 8, 8)
    changed = x.clone()
    changed[:, 0] = torch.randn(8, 8)
    leaks = [(block(changed) - block(x))[0, -1].abs().max().item() for block in (theirs, ours)]
    assert leaks[0] > 1e-2 and leaks[1] == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_both_orders_agree_where_the_window_divides_every_map(family):
    before = shake(tiny(family))
    after = tiny(family, window_padding="after_shift").eval()
    after.load_state_dict(before.state_dict())
    divided, other = torch.randn(1, 3, 128, 256), torch.randn(1, 3, 128, 160)
    torch.testing.assert_close(after(divided), before(divided), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after(other)["res5"], before(other)["res5"], atol=0.1)


def test_after_the_shift_is_timms_own():
    backbone = shake(tiny(window_padding="after_shift"))
    assert not any(isinstance(module, PadBeforeShift) for module in backbone.modules())
    plain = timm.create_model(
        FAMILIES["swin"], num_classes=0, dynamic_img_size=True, always_partition=True, **TINY
    ).eval()
    plain.load_state_dict(backbone.trunk.state_dict(), strict=False)
    images = torch.randn(1, 3, 96, 160)
    wanted = plain.forward_intermediates(images, intermediates_only=True)
    torch.testing.assert_close(list(backbone(images).values()), wanted)


def test_only_shifted_blocks_are_replaced_and_no_weight_is_renamed():
    before, after = tiny(), tiny(window_padding="after_shift")
    kinds = [type(block) for stage in before.trunk.layers for block in stage.blocks]
    assert kinds == [SwinTransformerBlock, PadBeforeShift] * 4
    assert list(before.state_dict()) == list(after.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_and_drop_path_stay(family, gradients):
    images, found = torch.randn(2, 3, 64, 96), []
    for enabled in (False, True):
        torch.manual_seed(1)
        backbone = tiny(family, drop_path_rate=0.5, activation_checkpointing=enabled)
        assert backbone.trunk.layers[3].blocks[1].drop_path1.drop_prob == pytest.approx(0.5)
        found.append(gradients(backbone, images))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    maps = tiny().to(dtype)(torch.randn(1, 3, 64, 96, dtype=dtype))
    assert all(x.dtype == dtype and x.isfinite().all() for x in maps.values())


@pytest.mark.parametrize("order", ["before_shift", "after_shift"])
def test_a_model_without_windows_says_so(order):
    with pytest.raises(ValueError, match=f"'{order}', but ResNet has no shifted windows; wanted a Swin or"):
        TimmPyramid(model_name="resnet18", window_padding=order)


def test_an_unknown_order_is_told():
    with pytest.raises(ValueError, match="window_padding is 'before'; wanted one of before_shift, after_shift"):
        tiny(window_padding="before")


@pytest.mark.parametrize("part", [torch.nn.Identity(), torch.nn.Parameter(torch.ones(8))])
def test_another_timm_is_told(part, block_pair):
    theirs, _ = block_pair("swin")
    theirs.layer_scale = part
    with pytest.raises(RuntimeError, match=r"SwinTransformerBlock of timm .* of .*layer_scale.*; wanted a block of"):
        PadBeforeShift(theirs)
    with pytest.raises(RuntimeError, match=r"Identity of timm .*; wanted a block of Swin with attn, drop_path1"):
        PadBeforeShift(torch.nn.Identity())


def rules_to_transformers():
    """Return the rules from our names of Swin's weights to those of transformers."""
    tensor = "(?P<tensor>weight|bias)"
    block, theirs = r"trunk\.layers\.(\d)\.blocks\.(\d)", r"swin.encoder.layers.\1.blocks.\2"
    layers = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"}
    table = "attention.relative_position_bias.relative_position_bias_table"
    packed = tuple(rf"{theirs}.attention.{part}_proj.\g<tensor>" for part in "qkv")
    rules = [
        *layer_rules(r"trunk\.patch_embed", "swin.embeddings", {"proj": "patch_embeddings.projection", "norm": "norm"}),
        *layer_rules(block, theirs, layers | {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}),
        WeightRule(rf"{block}\.attn\.qkv\.{tensor}", packed),
        WeightRule(rf"{block}\.attn\.relative_position_bias_table", f"{theirs}.{table}"),
    ]
    for place in range(4):
        downsample = f"swin.encoder.layers.{place - 1}.downsample"
        ours = rf"trunk\.layers\.{place}\.downsample"
        rules += layer_rules(ours, downsample, {"norm": "norm", "reduction": "reduction"})
        rules += layer_rules("out_norms", "hidden_states_norms", {f"res{place + 2}": f"stage{place + 1}"})
    return rules


@pytest.mark.slow("Swin's maps beside those of transformers")
@pytest.mark.parametrize("size", [(224, 224), (512, 512), (160, 256)])
def test_maps_equal_those_of_transformers(size):
    from transformers import SwinBackbone, SwinConfig  # imported here, since it takes seconds

    sizes = dict(embed_dim=24, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    theirs = SwinBackbone(SwinConfig(**sizes, out_features=stages)).eval()
    ours = shake(tiny(timm_args=sizes, out_norm=True))
    timms = tiny(timm_args=sizes, out_norm=True, window_padding="after_shift").eval()
    timms.load_state_dict(ours.state_dict())
    wanted = {name: value for name, value in theirs.state_dict().items() if not name.startswith("swin.layernorm.")}
    converted, _ = convert(ours.state_dict(), wanted, rules_to_transformers())
    theirs.load_state_dict(converted, strict=False)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        maps = theirs(images).feature_maps
        torch.testing.assert_close(tuple(ours(images).values()), maps, rtol=1e-4, atol=1e-4)
        gap = (timms(images)["res5"] - maps[-1]).norm() / maps[-1].norm()
    assert gap > 0.01 if size != (224, 224) else gap < 1e-4
