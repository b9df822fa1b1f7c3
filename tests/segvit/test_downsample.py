"""QD in a plain ViT: the block's own output at the sampled tokens."""

import pytest
import torch
from timm.layers import Attention
from torch import nn

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.segvit.shrunk import ConvSampling, NearestSampling, QueryDownsample, TokenDownsample

TINY = dict(embed_dim=48, depth=4, num_heads=3)


def make(downsample=None, model_name="vit_tiny_patch16_224", out_blocks=(0, 1, 3), **timm_args):
    return PlainViT(
        model_name=model_name,
        img_size=64,
        out_blocks=out_blocks,
        pretrained=False,
        downsample=downsample,
        timm_args=TINY | timm_args,
    )


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (80, 112), (16, 48)])
def test_sampled_queries_see_all_tokens(class_token, fused, size):
    shrunk = make(QueryDownsample(block=1, sample=NearestSampling()), class_token=class_token).eval()
    shrunk.vit.blocks[1].attn.fused_attn = fused
    whole = make(class_token=class_token).eval()
    whole.vit.load_state_dict(shrunk.vit.state_dict())
    images = torch.randn(2, 3, *size)
    got, wanted = shrunk(images), whole(images)
    torch.testing.assert_close(got["block0"], wanted["block0"])
    torch.testing.assert_close(got["block1"], wanted["block1"][:, :, ::2, ::2])
    assert got["block3"].shape[-2:] == got["block1"].shape[-2:]


@pytest.mark.parametrize("kwargs", [dict(scale_norm=True), dict(gated=True), dict(attn_head_dim=8), dict(qk_norm=True)])
@pytest.mark.parametrize("fused", [False, True])
def test_all_that_timms_attention_has_takes_part(kwargs, fused):
    attention = Attention(48, num_heads=3, qkv_bias=True, norm_layer=nn.LayerNorm, **kwargs)
    attention.fused_attn = fused
    for parameter in attention.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    shrunk, whole = make(QueryDownsample(block=1, sample=NearestSampling())).eval(), make().eval()
    whole.vit.load_state_dict(shrunk.vit.state_dict())
    for backbone in (shrunk, whole):
        backbone.vit.blocks[1].attn = attention.eval()
    images = torch.randn(2, 3, 64, 80)
    torch.testing.assert_close(shrunk(images)["block1"], whole(images)["block1"][:, :, ::2, ::2])


def test_sampled_keys_and_values():
    shrunk = make(TokenDownsample(block=2, sample=NearestSampling()), class_token=False, out_blocks=(1, 2)).eval()
    maps = shrunk(torch.randn(1, 3, 80, 48))
    sampled = maps["block1"][:, :, ::2, ::2]
    block = shrunk.vit.blocks[2](sampled.flatten(2).transpose(1, 2))
    torch.testing.assert_close(maps["block2"].flatten(2).transpose(1, 2), block)


@pytest.mark.parametrize("size", [(64, 64), (80, 48)])
def test_sampling_by_convolution(size):
    backbone = make(QueryDownsample(block=1, sample=ConvSampling(channels=48)))
    got = backbone(torch.randn(2, 3, *size))["block3"]
    assert got.shape[-2:] == (-(-size[0] // 32), -(-size[1] // 32))
    got.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_strides_and_divisibility():
    backbone = make(QueryDownsample(block=1, sample=NearestSampling()))
    shape = backbone.output_shape()
    assert {name: spec.stride for name, spec in shape.items()} == {"block0": 16, "block1": 32, "block3": 32}
    assert backbone.size_divisibility == 16


def test_what_cannot_be_shrunk():
    with pytest.raises(ValueError, match="wanted 1 to 3"):
        make(QueryDownsample(block=0, sample=NearestSampling()))


@pytest.mark.parametrize(
    ("model_name", "has", "timm_args"),
    [
        ("vit_small_patch16_dinov3", "eva.EvaBlock", {}),
        ("beitv2_base_patch16_224", "beit.Block", {}),
        ("vit_tiny_patch16_224", "diff_attention.DiffAttention", {"attn_layer": "diff", "num_heads": 2}),
    ],
)
def test_blocks_that_run_otherwise_are_told(model_name, has, timm_args):
    with pytest.raises(ValueError, match=rf"downsample needs timm.*; {model_name} has timm\..*\.{has}$"):
        make(QueryDownsample(block=1, sample=NearestSampling()), model_name, (1,), **timm_args)
