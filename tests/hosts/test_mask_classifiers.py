"""MaskFormer's and Mask2Former's heads: contracts, bad input, precision, initial weights."""

import math
from collections import Counter

import pytest
import torch

from tokenseg.contracts import HasRegions, Head, ShowsStages, Targets
from tokenseg.hosts.mask2former import Mask2FormerHead
from tokenseg.hosts.mask_former import MaskFormerHead
from tokenseg.layers.attention import Attention
from tokenseg.layers.mask_scores import class_scores
from tokenseg.losses.hungarian import HungarianAssigner
from tokenseg.losses.mask import MaskLoss
from tokenseg.losses.point_mask import PointMaskLoss
from tokenseg.losses.points import PointSampling
from tokenseg.solver import parameter_groups

CHANNELS = [4, 6, 8, 10]
SIZES = ((8, 12), (4, 6), (2, 3), (1, 2))


def mask_former(num_classes=3, num_queries=5, **kwargs):
    weights = {"focal": 20.0, "dice": 1.0, "class": 1.0}
    criterion = MaskLoss(
        num_classes=num_classes, num_tokens=num_queries, weights=weights, assign=HungarianAssigner(weights=weights)
    )
    arguments = dict(channels=CHANNELS, num_classes=num_classes, num_queries=num_queries, criterion=criterion)
    return MaskFormerHead(**arguments | dict(width=32, num_layers=2, num_heads=4, hidden=16, dropout=0.0) | kwargs)


def mask2former(num_classes=3, num_queries=5, **kwargs):
    criterion = PointMaskLoss(
        num_classes=num_classes,
        num_queries=num_queries,
        weights={"cross_entropy": 5.0, "dice": 5.0, "class": 2.0},
        sampling=PointSampling(num_points=40),
    )
    arguments = dict(channels=CHANNELS, num_classes=num_classes, num_queries=num_queries, criterion=criterion)
    sizes = dict(width=32, num_encoder_layers=2, num_layers=4, num_heads=4, encoder_hidden=16, hidden=16)
    return Mask2FormerHead(**arguments | sizes | kwargs)


BOTH = pytest.mark.parametrize("make_head", [mask_former, mask2former])


def features(sizes=SIZES, n=2):
    maps = zip(CHANNELS, sizes, strict=True)
    return {f"res{place}": torch.randn(n, count, *size) for place, (count, size) in enumerate(maps, 2)}


def losses_of(head, labels, maps=None):
    _, losses = head.train()(maps or features(), Targets.alone(head, labels))
    return losses


@BOTH
def test_it_keeps_the_contracts(make_head):
    head = make_head()
    assert isinstance(head, Head) and isinstance(head, ShowsStages) and isinstance(head, HasRegions)
    assert head.gives_probabilities and head.ignore_value == 255


@BOTH
@pytest.mark.parametrize("sizes", [SIZES, ((9, 13), (5, 7), (3, 4), (2, 2)), ((8, 8),) * 4, ((1, 1),) * 4])
def test_scores_and_regions_at_any_sizes_of_the_stages(make_head, sizes):
    head, maps = make_head().eval(), features(sizes)
    scores, beside = head(maps)
    height, width = sizes[0]
    assert scores.shape == (2, 3, 4 * height, 4 * width) and scores.min() >= 0
    regions = head.region_weights(maps)
    assert regions.shape == (2, 5, height, width) and regions.min() >= 0 and regions.max() <= 1
    torch.testing.assert_close(head.region_weights({**maps, **beside}), regions)


@BOTH
def test_pictures_end_with_the_scores(make_head):
    head, maps = make_head().eval(), features()
    stages, last = head.token_maps(maps), head.decode(maps)[-1]
    assert len(stages) == len(head.decode(maps)) and all(x.shape == (2, 3, 8, 12) for x in stages.values())
    torch.testing.assert_close(list(stages.values())[-1], class_scores(last.masks, last.class_logits, size=(8, 12)))


@BOTH
def test_coarser_scores_on_request(make_head):
    assert make_head(score_stride=4).eval()(features())[0].shape == (2, 3, 8, 12)
    with pytest.raises(ValueError, match="score_stride is 0"):
        make_head(score_stride=0)


@BOTH
@pytest.mark.parametrize("label", [255, 1])
def test_every_parameter_gets_a_gradient(make_head, label):
    head = make_head()
    labels = torch.full((2, 32, 48), label)
    total = sum(losses_of(head, labels).values())
    total.backward()
    assert torch.isfinite(total) and (total == 0) == (label == 255)
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


@BOTH
@pytest.mark.parametrize("num_classes", [1, 1000])
def test_one_class_and_a_thousand(make_head, num_classes):
    head = make_head(num_classes=num_classes)
    losses = losses_of(head, torch.randint(0, num_classes, (2, 32, 48)).clamp(max=3))
    assert all(torch.isfinite(value) for value in losses.values())
    assert head.eval()(features())[0].shape == (2, num_classes, 32, 48)


@BOTH
def test_more_masks_than_queries_is_said_once(make_head, caplog, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())  # as if no other test had logged it before
    head = make_head(num_classes=9, num_queries=2)
    labels = torch.arange(9).repeat_interleave(6)[:48].expand(2, 32, 48).contiguous()
    for _ in range(2):
        assert all(torch.isfinite(value) for value in losses_of(head, labels).values())
    assert head.count(Targets(labels))["masks"] == 4
    assert len([line for line in caplog.messages if "8 masks and there are 2 tokens" in line]) == 1


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(make_head, dtype):
    head, maps = make_head(), features()
    labels = torch.randint(0, 3, (2, 32, 48))
    with torch.autocast("cpu", dtype=dtype):
        losses = losses_of(head, labels, maps)
        scores, _ = head.eval()(maps)
    sum(losses.values()).backward()
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())
    torch.testing.assert_close(scores, head(maps)[0], rtol=0.2, atol=0.2)


def test_the_pixel_decoder_of_mask2former_runs_in_single_precision():
    head, maps = mask2former().eval(), list(features().values())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = head.pixel_decoder([x.bfloat16() for x in maps])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, head.pixel_decoder([x.bfloat16().float() for x in maps])[0])


@BOTH
def test_fused_attention_equals_the_plain_one(make_head):
    head, maps = make_head().eval(), features()
    wanted, _ = head(maps)
    for module in head.modules():
        if isinstance(module, Attention):
            assert module.fused
            module.fused = False
    torch.testing.assert_close(head(maps)[0], wanted, rtol=1e-4, atol=1e-5)


@BOTH
def test_a_query_of_an_empty_mask_sees_everything(make_head):
    head = make_head().eval()
    with torch.no_grad():
        head.query_decoder.outputs.embed[-1].weight.zero_()
        head.query_decoder.outputs.embed[-1].bias.fill_(-1.0)
        head.pixel_decoder.mask_features.weight.zero_()
        head.pixel_decoder.mask_features.bias.fill_(1.0)
    scores, beside = head(features())
    assert (beside["query_masks"] < 0).all() and torch.isfinite(scores).all()


@BOTH
def test_bad_maps(make_head):
    with pytest.raises(ValueError, match="2 or more, as many of both"):
        make_head(channels=[4, 6, 8])
    maps = features()
    del maps["res3"]
    with pytest.raises(ValueError, match="no feature map res3; wanted some of res2, res4, res5"):
        make_head().eval()(maps)


def test_embeddings_have_no_weight_decay():
    head = mask2former()
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    groups = parameter_groups(model=head, lr=1.0, weight_decay=0.1)
    exempt = {names[id(x)] for group in groups if not group["weight_decay"] for x in group["params"]}
    embeddings = {name for name in exempt if "norm" not in name and "lateral" not in name and "output." not in name}
    decoder = {f"query_decoder.{name}" for name in ("query_states", "query_positions", "level_embeddings")}
    assert {name for name in embeddings if "embeddings" in name or "query_" in name.split(".")[-1]} == decoder
    assert mask_former().query_decoder.no_weight_decay() == {"query_positions"}


def test_first_weights():
    torch.manual_seed(0)
    head = Mask2FormerHead(channels=CHANNELS, num_classes=3, criterion=mask2former().criterion, num_layers=1)
    attention = head.query_decoder.layers[0].cross_attention.attention
    bound = math.sqrt(6 / 1024)
    assert 0.99 * bound < attention.key.weight.abs().max() <= bound and not attention.key.bias.any()
    hidden, out = (head.query_decoder.layers[0].feed_forward.layers[place] for place in (0, 3))
    for layer in (hidden, out):
        bound = math.sqrt(6 / (256 + 2048))
        assert 0.99 * bound < layer.weight.abs().max() <= bound and layer.bias.any()
    assert head.query_decoder.query_states.std().item() == pytest.approx(1, abs=0.05)
    assert not head.pixel_decoder.mask_features.bias.any() and not head.pixel_decoder.projections[0][0].bias.any()


def test_parameters_as_published():
    """The millions of parameters of the heads for Swin-T and for ResNet-101 on ADE20K."""
    count = sum(x.numel() for x in Mask2FormerHead(
        channels=[96, 192, 384, 768], num_classes=150, criterion=mask2former().criterion
    ).parameters())  # fmt: skip
    assert count == pytest.approx(19.919e6, abs=500)
    count = sum(x.numel() for x in MaskFormerHead(
        channels=[256, 512, 1024, 2048], num_classes=150, criterion=mask_former().criterion
    ).parameters())  # fmt: skip
    assert count == pytest.approx(17.800e6, abs=500)
