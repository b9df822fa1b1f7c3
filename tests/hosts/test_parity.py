"""Comparison of all outputs of the heads with those of `transformers`, with random weights and no network."""

import pytest
import torch

from reference import hosts as reference
from tokenseg.hosts.fcn import FCNHead
from tokenseg.hosts.mask2former import Mask2FormerHead
from tokenseg.hosts.mask_former import MaskFormerHead
from tokenseg.hosts.uper_net import UperNetHead
from tokenseg.losses.mask import MaskLoss

pytestmark = [
    pytest.mark.slow("heads of mask classifiers beside those of transformers"),
    pytest.mark.usefixtures("transformers"),
]

CHANNELS = [8, 16, 32, 64]
NAMES = ["res2", "res3", "res4", "res5"]
AT_TWO_SIZES = pytest.mark.parametrize("size", [(64, 96), (83, 61)])


def make_maps(size):
    """Draw the maps of an image at strides 4 to 32; return them as a list and as a dict by name."""
    maps = [torch.randn(2, count, *(-(-side // (4 << place)) for side in size)) for place, count in enumerate(CHANNELS)]
    return maps, dict(zip(NAMES, maps, strict=True))


def assert_stages_are_equal(predictions, stages):
    assert len(predictions) == len(stages)
    for ours, (class_logits, masks) in zip(predictions, stages, strict=True):
        torch.testing.assert_close(ours.class_logits, class_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.masks, masks, rtol=1e-4, atol=1e-4)


@AT_TWO_SIZES
def test_uper_net(size):
    theirs = reference.disturb(reference.uper_net(width=8, num_classes=7, hidden=16, auxiliary=12))
    head = UperNetHead(channels=CHANNELS, num_classes=7, width=16)
    further = FCNHead(in_features=["res4"], channels=[32], num_classes=7, width=12, num_convs=1, concat_input=False)
    maps, features = make_maps(size)
    for ours, part in ((head, theirs.decode_head), (further, theirs.auxiliary_head)):
        reference.load_renamed(ours, part.state_dict(), reference.UPER_NET).eval()
        with torch.no_grad():
            torch.testing.assert_close(ours(features)[0], part(maps), rtol=1e-4, atol=1e-4)


@AT_TWO_SIZES
def test_mask_former(size):
    sizes = dict(num_classes=5, num_queries=9, num_layers=3, num_heads=4, hidden=48)
    theirs = reference.disturb(reference.mask_former(width=8, channels=96, **sizes))
    criterion = MaskLoss(num_classes=5, weights={"dice": 1.0})
    head = MaskFormerHead(channels=CHANNELS, width=96, criterion=criterion, **sizes)
    reference.load_renamed(head, reference.head_weights(theirs), reference.MASK_FORMER).eval()
    maps, features = make_maps(size)
    with torch.no_grad():
        assert_stages_are_equal(head.decode(features), reference.mask_former_stages(theirs, maps))


@AT_TWO_SIZES
@pytest.mark.parametrize("sampling", ["embedding_bag", "grid_sample"])
def test_mask2former(size, sampling):
    theirs = reference.mask2former(
        width=8,
        num_classes=5,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=40,
        encoder_layers=2,
        decoder_layers=5,
        num_attention_heads=4,
        dim_feedforward=48,
        num_queries=9,
    )
    reference.disturb(theirs)
    head = Mask2FormerHead(
        channels=CHANNELS,
        num_classes=5,
        criterion=MaskLoss(num_classes=5, weights={"dice": 1.0}),
        num_queries=9,
        width=64,
        num_encoder_layers=2,
        num_layers=4,
        num_heads=4,
        encoder_hidden=40,
        hidden=48,
        sampling=sampling,
    )
    reference.load_renamed(head, reference.head_weights(theirs), reference.MASK2FORMER).eval()
    maps, features = make_maps(size)
    with torch.no_grad():
        assert_stages_are_equal(head.decode(features), reference.mask2former_stages(theirs, maps))
