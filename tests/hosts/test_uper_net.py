import pytest
import torch

from tokenseg.contracts import Head, ShowsStages, Targets
from tokenseg.hosts.uper_net import UperNetHead

CHANNELS = [4, 6, 8, 10]


def make_head(**kwargs):
    return UperNetHead(**dict(channels=CHANNELS, num_classes=3, width=5, norm="BN") | kwargs)


def features(sizes=((9, 13), (5, 7), (3, 4), (2, 2)), n=2):
    maps = zip(CHANNELS, sizes, strict=True)
    return {f"res{place}": torch.randn(n, count, *size) for place, (count, size) in enumerate(maps, 2)}


def test_it_keeps_the_contracts():
    assert isinstance(make_head(), Head) and isinstance(make_head(), ShowsStages)


@pytest.mark.parametrize("sizes", [((9, 13), (5, 7), (3, 4), (2, 2)), ((8, 8), (8, 8), (4, 4), (4, 4)), ((1, 1),) * 4])
def test_logits_have_the_size_of_the_finest_map(sizes):
    head = make_head().eval()
    maps = features(sizes)
    logits, beside = head(maps)
    assert logits.shape == (2, 3, *sizes[0]) and beside == {}
    torch.testing.assert_close(head.token_maps(maps)["logits"], logits)


@pytest.mark.parametrize("label", [255, 1])
def test_it_trains_every_parameter(label):
    head = make_head().train()
    _, losses = head(features(), Targets.alone(head, torch.full((2, 36, 52), label)))
    losses["loss_sem_seg"].backward()
    assert torch.isfinite(losses["loss_sem_seg"]) and (losses["loss_sem_seg"] == 0) == (label == 255)
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_parameters_as_published():
    head = make_head(channels=[96, 192, 384, 768], num_classes=150, width=512)
    assert sum(x.numel() for x in head.parameters()) == pytest.approx(31.497e6, abs=500)


def test_first_weights():
    head = make_head(width=64)
    assert head.classify[1].weight.std().item() == pytest.approx(0.01, rel=0.2) and not head.classify[1].bias.any()
    assert head.joint[0].weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_bad_maps():
    with pytest.raises(ValueError, match="two or more, as many of both"):
        make_head(channels=[4, 6])
    maps = features()
    del maps["res4"]
    with pytest.raises(ValueError, match="no feature map res4; wanted some of res2, res3, res5"):
        make_head().eval()(maps)
