"""StructToken against the plain rendering of its equations: outputs, loss and every gradient."""

import math

import pytest
import torch
from torch import nn

from reference import structtoken as plain
from reference.backbone import with_plain_attention
from reference.weights import Weights
from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.contracts import Targets
from tokenseg.structtoken.blocks import cross_slice_blocks, point_wise_blocks, self_slice_blocks
from tokenseg.structtoken.extraction import slice_attention
from tokenseg.structtoken.head import StructTokenHead
from tokenseg.structtoken.parts import ConvBlock, FeedForward

BLOCKS = {"cse": cross_slice_blocks, "sse": self_slice_blocks, "pwe": point_wise_blocks}


def make_head(variant, *, num_classes=3, channels=8, refine=None, side=4, reading="released", **ffn):
    blocks = BLOCKS[variant](
        num_classes=num_classes, channels=channels, num_blocks=3, drop_path=0.0, ffn=ffn, reading=reading
    )
    head = StructTokenHead(
        in_feature="map",
        channels=channels,
        num_classes=num_classes,
        img_size=16 * side,
        stride=16,
        blocks=blocks,
        refine=refine or ConvBlock(channels=num_classes),
    )
    for name, parameter in head.named_parameters():  # biases and norms begin as 0 and 1, which hides mistakes
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=float("weight" in name), std=0.3)
    return head


def relative(ours, rival):
    return float((ours - rival).norm() / rival.norm())


def compare(head, variant, size, **reading):
    """Relative difference of the logits, and name -> gradients (ours, the rendering's) of parameters and features."""
    x = torch.randn(2, head.project.in_channels, *size, dtype=head.tokens.dtype, requires_grad=True)
    ours, rival = head.eval()({"map": x})[0], plain.decode(x, Weights.of(head), variant, **reading)
    parameters = dict(head.named_parameters()) | {"features": x}
    above = torch.randn_like(ours)
    gradients = (torch.autograd.grad(y, list(parameters.values()), above) for y in (ours, rival))
    return relative(ours, rival), {name: pair for name, *pair in zip(parameters, *gradients, strict=True)}


def assert_equal(head, variant, size, **reading):
    difference, gradients = compare(head.double(), variant, size, **reading)
    assert difference < 1e-10
    assert {name: far for name, pair in gradients.items() if not (far := relative(*pair)) < 1e-10} == {}


@pytest.mark.parametrize("variant", BLOCKS)
@pytest.mark.parametrize("size", [(4, 4), (3, 7), (1, 1)])
def test_head_follows_the_equations(variant, size):
    assert_equal(make_head(variant), variant, size)


@pytest.mark.parametrize("variant", BLOCKS)
def test_head_follows_the_equations_as_printed(variant):
    head = make_head(variant, reading="printed")
    assert_equal(head, variant, (3, 7), printed=True)
    networks = [module for module in head.modules() if isinstance(module, FeedForward)]
    assert len(networks) == 5  # two a block, without the features' of the last


def test_the_printed_scale_by_hand():
    """Slices of two pixels: dot products of 2 and 0 with the two keys, divided by sqrt(4) for four channels."""
    query, key = torch.ones(1, 1, 1, 2), torch.tensor([[1.0, 1], [1, -1]]).view(1, 2, 1, 2)
    got = slice_attention(query, key, torch.tensor([1.0, 0, 0, 1]).view(1, 2, 1, 2), scale=4**-0.5)
    share = math.exp(1) / (math.exp(1) + 1)
    torch.testing.assert_close(got.flatten(), torch.tensor([share, 1 - share]))


def test_readings_have_names():
    for blocks in BLOCKS.values():
        with pytest.raises(ValueError, match="reading is 'paper'; wanted one of released, printed"):
            blocks(num_classes=3, channels=8, reading="paper")


@pytest.mark.parametrize("variant", BLOCKS)
def test_head_follows_the_equations_in_float32(variant):
    # enough channels, since norms over a few blow rounding up
    difference, gradients = compare(make_head(variant, num_classes=24, channels=40), variant, (6, 5))
    assert difference < 1e-5
    # all as one, since some are sums that nearly cancel
    assert relative(*(torch.cat([x.flatten() for x in side]) for side in zip(*gradients.values(), strict=True))) < 1e-4


def test_loss_is_that_of_the_pixels_that_count():
    head, x, labels = make_head("cse").train(), torch.randn(2, 8, 3, 4), torch.randint(0, 3, (2, 30, 41))
    labels[0, :20] = 255
    wanted = plain.loss(plain.decode(x, Weights.of(head), "cse"), labels)
    torch.testing.assert_close(head({"map": x}, Targets.alone(head, labels))[1]["loss_sem_seg"], wanted)


@pytest.mark.parametrize("variant", BLOCKS)
@pytest.mark.parametrize(
    "options",
    [dict(conv=False), dict(group_size=1), dict(mlp_ratio=2, group_size=2), dict(refine=nn.Identity()), dict(side=3)],
)
def test_ablations_follow_the_equations(variant, options):
    assert_equal(make_head(variant, **options), variant, (4, 5))


def test_plain_attention_is_the_same_attention_of_the_same_weights():
    timm_args = dict(embed_dim=24, depth=2, num_heads=2)
    backbone = PlainViT(
        model_name="vit_tiny_patch16_224", img_size=32, out_blocks=[1], pretrained=False, timm_args=timm_args
    )
    rival, images = with_plain_attention(backbone), torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(rival(images)["block1"], backbone(images)["block1"])
    assert all(a is b for a, b in zip(rival.parameters(), backbone.parameters(), strict=True))
    fused = [[m.fused_attn for m in net.modules() if hasattr(m, "fused_attn")] for net in (rival, backbone)]
    assert fused == [[False, False], [True, True]]
    with pytest.raises(ValueError, match="Linear has no attention"):
        with_plain_attention(nn.Linear(1, 1))


def test_an_experiment_sets_the_factor_of_the_attention():
    blocks = cross_slice_blocks(num_classes=3, channels=8, scale=0.25)
    assert [block.extraction.scale for block in blocks] == [0.25] * 4
