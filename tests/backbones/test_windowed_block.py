"""Blocks of plain ViTs that attend within windows."""

import pytest
import torch
from timm.models.vision_transformer import Block

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.windowed_block import WindowedBlock
from tokenseg.segvit.shrunk import NearestSampling, QueryDownsample

# With a class token, with a class token and four registers, and with neither.
MODELS = [
    ("vit_tiny_patch16_224", {}),
    ("vit_small_patch14_reg4_dinov2", {"patch_size": 16}),
    ("vit_tiny_patch16_224", {"class_token": False}),
]


def toy_vit(model_name="vit_tiny_patch16_224", *, timm_args=None, **args):
    timm_args = dict(embed_dim=48, depth=2, num_heads=3) | (timm_args or {})
    return PlainViT(model_name=model_name, img_size=64, out_blocks=[1], pretrained=False, timm_args=timm_args, **args)


def plainly(block, tokens, grid, size):
    """Run the block on each window separately, without padding, and average the tokens before the patches."""
    seen = block.norm1(tokens)
    count = tokens.shape[1] - grid[0] * grid[1]
    prefix, patches = seen[:, :count], seen[:, count:].unflatten(1, grid)
    mixed, prefixes = torch.empty_like(patches), []
    for top in range(0, grid[0], size):
        for left in range(0, grid[1], size):
            cells = patches[:, top : top + size, left : left + size]
            found = block.attn(torch.cat([prefix, cells.flatten(1, 2)], dim=1))
            prefixes.append(found[:, :count])
            mixed[:, top : top + size, left : left + size] = found[:, count:].unflatten(1, cells.shape[1:3])
    tokens = tokens + torch.cat([sum(prefixes) / len(prefixes), mixed.flatten(1, 2)], dim=1)
    return tokens + block.mlp(block.norm2(tokens))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("num_prefix", [0, 1, 5])
@pytest.mark.parametrize("grid", [(4, 6), (3, 5), (1, 2), (2, 7)])
def test_windows_are_apart_and_padding_is_not_seen(grid, num_prefix, fused):
    block = Block(24, 3, qkv_bias=True).eval()
    block.attn.fused_attn = fused
    tokens = torch.randn(2, num_prefix + grid[0] * grid[1], 24)
    wanted = plainly(block, tokens, grid, 2)
    torch.testing.assert_close(WindowedBlock(block, 2)(tokens, grid), wanted)


def outputs(model_name, timm_args, **args):
    """Compute the last map of an image of 5 x 7 patches with and without windows, from the same weights."""
    backbone = toy_vit(model_name, timm_args=timm_args).eval()
    for name, weight in backbone.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.ones_(weight)  # initially near 0, which would make attention uniform
    windowed = toy_vit(model_name, timm_args=timm_args, **args).eval()
    windowed.load_state_dict(backbone.state_dict())
    images = torch.randn(1, 3, 80, 112)
    with torch.no_grad():
        return windowed(images)["block1"], backbone(images)["block1"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("args", [dict(window_size=7), dict(window_size=9), dict(window_size=2, global_blocks=[0, 1])])
def test_windows_over_the_whole_map_are_none(model, args):
    torch.testing.assert_close(*outputs(*model, **args))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("global_blocks", [[], [0], [1]])
def test_smaller_windows_are_some(model, global_blocks):
    found, wanted = outputs(*model, window_size=3, global_blocks=global_blocks)
    assert (found - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_with_and_without_checkpointing(dtype, gradients):
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        args = dict(window_size=3, global_blocks=[1], activation_checkpointing=enabled)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found.append(gradients(toy_vit(**args), torch.randn(2, 3, 64, 80)))
    torch.testing.assert_close(*found)
    assert all(value.isfinite().all() and value.any() for value in found[0].values())


def test_weights_keep_their_names():
    assert toy_vit(window_size=3).state_dict().keys() == toy_vit().state_dict().keys()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            dict(model_name="eva02_tiny_patch14_224"),
            "window_size needs timm.*Block, as in ViT.* has timm.*EvaBlock",
        ),
        (dict(model_name="vit_small_patch16_dinov3"), "window_size needs"),
        (dict(model_name="beit_base_patch16_224"), "window_size needs"),
        (dict(window_size=0), "window_size is 0; wanted 1 patch or more"),
        (dict(global_blocks=[2]), r"global_blocks are \[2\]; wanted blocks from 0 to the last used, 1"),
        (dict(downsample=QueryDownsample(block=1, sample=NearestSampling())), "downsample changes the grid"),
    ],
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        toy_vit(**({"window_size": 2} | args))
