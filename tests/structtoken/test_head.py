"""StructToken's parts against plain renderings of the equations, and its numbers against the paper."""

import pytest
import torch
from torch.nn import functional as F

from tokenseg.structtoken.blocks import JointBlock, point_wise_blocks
from tokenseg.structtoken.extraction import PointWiseExtraction
from tokenseg.structtoken.head import StructTokenHead
from tokenseg.structtoken.layers import ConvBlock, FeedForward


def make_head(num_classes=3, channels=8, img_size=64, refine=None, **blocks):
    blocks = point_wise_blocks(num_classes=num_classes, channels=channels, num_blocks=2, **blocks)
    return StructTokenHead(
        in_feature="map",
        channels=channels,
        num_classes=num_classes,
        img_size=img_size,
        stride=16,
        blocks=blocks,
        refine=refine or ConvBlock(channels=num_classes),
    )


def layer_norm(x, norm):
    """Over channels, by flattening to (N, HW, C) and back."""
    n, c, h, w = x.shape
    y = F.layer_norm(x.flatten(2).transpose(1, 2), (c,), norm.weight, norm.bias, norm.eps)
    return y.transpose(1, 2).reshape(n, c, h, w)


def run(layers, x):
    for layer in layers:
        x = layer_norm(x, layer) if isinstance(layer, torch.nn.LayerNorm) else layer(x)
    return x


def test_point_wise_block_follows_the_equations():
    torch.manual_seed(0)
    block = JointBlock(
        num_classes=3, extraction=PointWiseExtraction(channels=11), feed_forward=FeedForward(11), drop_path=0.0
    )
    tokens, features = torch.randn(2, 3, 5, 7), torch.randn(2, 8, 5, 7)
    slices = torch.cat([tokens, features], 1)
    part = block.extraction
    slices = slices + run(part.map_out, part.mix(run(part.map_in, slices)))
    slices = F.gelu(slices + run(block.feed_forward.layers, slices))
    got = block(tokens, features)
    torch.testing.assert_close(torch.cat(got, 1), slices)
    assert [x.shape[1] for x in got] == [3, 8]


def test_feed_forward_groups():
    assert FeedForward(6).layers[3].groups == 6  # four of 24 hidden channels a group
    assert FeedForward(6, group_size=1).layers[3].weight.shape == (24, 1, 3, 3)
    assert len(FeedForward(6, conv=False).layers) == 5
    with pytest.raises(ValueError, match="divisor of the 24"):
        FeedForward(6, group_size=5)


def test_drop_path_rises_linearly():
    blocks = point_wise_blocks(num_classes=2, channels=2, num_blocks=3, drop_path=0.2)
    assert [block.drop_path.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2])
    assert [block.feed_forward.drop_path.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2])
    with pytest.raises(ValueError, match="num_blocks is 0"):
        point_wise_blocks(num_classes=2, channels=2, num_blocks=0)


@pytest.mark.parametrize("size", [(4, 4), (1, 1), (3, 7)])
def test_any_map_size(size):
    logits, losses = make_head().eval()({"map": torch.randn(2, 8, *size)})
    assert logits.shape == (2, 3, *size) and losses == {}


def test_tokens_are_resampled_bicubically():
    head = make_head(img_size=64)
    wanted = F.interpolate(head.tokens, size=(6, 5), mode="bicubic", align_corners=False)
    torch.testing.assert_close(head.decode(torch.randn(1, 8, 6, 5))[0], wanted)
    odd = make_head(img_size=48)
    wanted = F.interpolate(odd.tokens, size=(6, 5), mode="bicubic", align_corners=True)
    torch.testing.assert_close(odd.decode(torch.randn(1, 8, 6, 5))[0], wanted)


def test_decode_returns_every_state():
    head = make_head(refine=torch.nn.Identity())
    states = head.decode(torch.randn(2, 8, 4, 4))
    assert [tuple(state.shape) for state in states] == [(2, 3, 4, 4)] * 4
    assert states[-1] is states[-2]


def test_loss_is_cross_entropy_over_valid_pixels():
    head = make_head(refine=torch.nn.Identity()).train()
    for module in head.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    x, targets = torch.randn(2, 8, 4, 4), torch.randint(0, 3, (2, 64, 64))
    targets[0, :40] = 255
    _, losses = head({"map": x}, targets)
    logits = F.interpolate(head.decode(x)[-1], size=(64, 64), mode="bilinear")
    torch.testing.assert_close(losses["loss_sem_seg"], F.cross_entropy(logits, targets, ignore_index=255))


def test_img_size_must_fit_the_stride():
    with pytest.raises(ValueError, match="multiple of the stride, 16"):
        make_head(img_size=50)
