"""StructToken's head and parts, beside what `test_equations.py` holds them to."""

import pytest
import torch
from torch.nn import functional as F

from tokenseg.structtoken.blocks import point_wise_blocks
from tokenseg.structtoken.head import StructTokenHead
from tokenseg.structtoken.parts import ConvBlock, FeedForward


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


@pytest.mark.parametrize("batch", [1, 2])
def test_maps_stay_channels_last(batch):
    head = make_head().eval()
    seen = {}
    for name, module in head.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    head({"map": torch.randn(batch, 8, 4, 4)})
    assert [name for name, x in seen.items() if x.stride(1) != 1] == []
    assert len(seen) == 2 * 9 + 2


def test_img_size_must_fit_the_stride():
    with pytest.raises(ValueError, match="multiple of the stride, 16"):
        make_head(img_size=50)
