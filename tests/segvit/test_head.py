"""SegViT's head against a plain rendering of its equations, and its variants."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from reference import segvit as plain
from reference.weights import Weights
from tokenseg.contracts import Targets
from tokenseg.inference.policy import MultiScale, WholeImage
from tokenseg.layers.attention import Attention
from tokenseg.layers.class_embedding import ExplicitClassExtraction, GatedClassUpdater
from tokenseg.layers.mask_scores import class_scores
from tokenseg.layers.patch_codes import sine_codes
from tokenseg.losses.mask import MaskLoss
from tokenseg.segmentor import Segmentor
from tokenseg.segvit.bases import ConvBases, LinearBases, Repeated
from tokenseg.segvit.head import CombinedCrossEntropy, MaskUpdate, SegViTHead
from tokenseg.segvit.shrunk import QueryUpsample, TiedQueryUpsample

NAMES = ["block2", "block5", "block7"]


def make_head(bases=None, num_classes=5, criterion=None, **kwargs):
    torch.manual_seed(0)
    weights = {"focal": 20.0, "dice": 1.0, "class": 1.0}
    arguments = dict(
        bases=bases or LinearBases(blocks=[2, 5, 7], channels=24, width=16),
        num_classes=num_classes,
        width=16,
        num_heads=2,
        criterion=criterion or MaskLoss(num_classes=num_classes, weights=weights),
        size_feature="block2",
        stride=16,
        dropout=0.0,
    )
    head = SegViTHead(**arguments | kwargs)
    for parameter in head.parameters():  # biases and norms that a wrong order or place would show
        parameter.data += 0.3 * torch.randn_like(parameter)
    return head


def features(*sizes, n=2, channels=24):
    return {name: torch.randn(n, channels, *size) for name, size in zip(NAMES, sizes, strict=False)}


def shrunk_bases():
    upsample = QueryUpsample(
        blocks=[2, 7], channels=24, width=16, img_size=48, stride=16, num_heads=2, num_layers=3, dropout=0.0
    )
    return Repeated(bases=upsample, times=3)


def plain_levels(head, maps):
    """The rendering of a head on three 3x3 maps."""
    w = Weights.of(head)
    if head.sum_masks:
        found = [plain.linear_base(maps[n], w / "bases.project" / i) for i, n in enumerate(reversed(NAMES))]
        return plain.decode(found, (3, 3), w, num_heads=2, num_layers=3, summed=True)
    base = plain.query_upsample(maps["block2"], maps["block7"], w / "bases.bases", 2)
    return plain.decode([base] * 3, (3, 3), w, num_heads=2, num_layers=1, summed=False)


@pytest.mark.parametrize("shrunk", [False, True])
@pytest.mark.parametrize("fused", [True, False])
def test_losses_and_scores_follow_the_equations(shrunk, fused):
    head = make_head(shrunk_bases(), num_layers=1, sum_masks=False) if shrunk else make_head()
    for module in head.modules():
        if isinstance(module, Attention):
            module.fused = fused
    maps = features((3, 3), (3, 3), (3, 3)) | ({"block7": torch.randn(2, 24, 2, 2)} if shrunk else {})
    targets = torch.randint(0, 4, (2, 48, 48))
    targets[:, :, 30:] = 255
    levels = plain_levels(head, maps)
    wanted = plain.loss(levels, targets)
    _, got = head.train()(maps, Targets.alone(head, targets))
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(sum(each.values()), list(head.parameters())) for each in (got, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    scores, losses = head.eval()(maps)
    masks, logits = levels[-1]
    torch.testing.assert_close(scores, plain.scores(plain.upsample(masks, (48, 48)), logits), rtol=1e-5, atol=1e-6)
    assert losses == {}


def test_scores_by_hand():
    """One token is surely class 0, one surely 'no object'; a mask of logit 0 is one half."""
    logits = torch.tensor([[[50.0, 0, 0], [0, 0, 50.0]]])
    scores = class_scores(torch.zeros(1, 2, 1, 1), logits, size=(2, 3))
    torch.testing.assert_close(scores, torch.tensor([0.5, 0]).view(1, 2, 1, 1).expand(1, 2, 2, 3))


@pytest.mark.parametrize("size", [(3, 3), (1, 1), (2, 5)])
def test_any_map_size(size):
    scores, _ = make_head().eval()(features(size, size, size))
    assert scores.shape == (2, 5, 16 * size[0], 16 * size[1])
    assert scores.min() >= 0 and scores.max() <= 5


@pytest.mark.parametrize("size", [(3, 3), (5, 2), (1, 1)])
def test_queries_follow_the_grid(size):
    head = make_head(shrunk_bases(), num_layers=1, sum_masks=False).eval()
    half = tuple(-(-side // 2) for side in size)
    maps = features(size) | {"block7": torch.randn(2, 24, *half)}
    assert head(maps)[0].shape == (2, 5, 16 * size[0], 16 * size[1])
    upsample = head.bases.bases
    wanted = F.interpolate(upsample.queries, size=size, mode="bicubic", align_corners=False)
    torch.testing.assert_close(upsample._queries_at(torch.Size(size)), wanted if size != (3, 3) else upsample.queries)


@pytest.mark.parametrize("last", [(6, 4), (2, 2), (3, 4)])
def test_last_map_has_half_the_grid(last):
    maps = features((6, 4)) | {"block7": torch.randn(2, 24, *last)}
    with pytest.raises(ValueError, match=f"block7 has a grid of {last[0]}x{last[1]} and block2 of 6x4; .* of 3x2"):
        make_head(shrunk_bases(), num_layers=1, sum_masks=False).eval()(maps)


def test_masks_of_all_strides_are_summed_at_the_last_one():
    bases = ConvBases(channels=[8, 24], width=16, in_features=["block2", "block5"], num_groups=4)
    head = make_head(bases, stride=4).eval()
    maps = {"block2": torch.randn(1, 8, 6, 10), "block5": torch.randn(1, 24, 3, 5)}
    first, last = head.decode(maps)
    assert first[0].shape == (1, 5, 3, 5) and last[0].shape == (1, 5, 6, 10)
    wanted = F.interpolate(first[0], size=(6, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(first[1], wanted)
    torch.testing.assert_close(last[1], wanted + last[0])
    assert head(maps)[0].shape == (1, 5, 24, 40)


def test_single_level_with_cross_entropy():
    bases = LinearBases(blocks=[7], channels=24, width=16)
    head = make_head(bases, criterion=CombinedCrossEntropy(), size_feature="block7")
    maps = {"block7": torch.randn(2, 24, 3, 3)}
    targets = torch.randint(0, 5, (2, 48, 48))
    targets[0, :9] = 255
    scores, _ = head.eval()(maps)
    _, losses = head.train()(maps, Targets.alone(head, targets))
    torch.testing.assert_close(losses["loss_sem_seg"], F.cross_entropy(scores, targets, ignore_index=255))


@pytest.mark.parametrize("label", [255, 2])
def test_cross_entropy_trains_every_parameter(label):
    head = make_head(criterion=CombinedCrossEntropy(), bases=LinearBases(blocks=[2], channels=24, width=16)).train()
    _, losses = head(features((3, 3)), Targets.alone(head, torch.full((2, 48, 48), label)))
    losses["loss_sem_seg"].backward()
    assert torch.isfinite(losses["loss_sem_seg"]) and (losses["loss_sem_seg"] == 0) == (label == 255)
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_gated_update_reaches_the_classes():
    def updater():
        extract = ExplicitClassExtraction(num_classes=5, width=16)
        return MaskUpdate(extract=extract, update=GatedClassUpdater(width=16))

    torch.manual_seed(1)
    head = make_head(updater=updater())
    assert len(head.updaters) == 3 and head.updaters[0].extract is not head.updaters[1].extract
    maps, seen = features((3, 3), (3, 3), (3, 3)), []
    head.updaters[1].register_forward_hook(lambda _, inputs, output: seen.append((inputs, output)))
    own, _, logits = head.decode(maps)[1]
    ((mask, _), tokens), = seen  # fmt: skip
    assert mask is own
    torch.testing.assert_close(logits, head.classify(tokens))
    _, losses = head.train()(maps, Targets.alone(head, torch.randint(0, 5, (2, 48, 48))))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_updated_tokens_enter_the_next_level():
    extract = ExplicitClassExtraction(num_classes=5, width=16)
    head = make_head(updater=MaskUpdate(extract=extract, update=GatedClassUpdater(width=16)))
    left, entered = [], []
    head.updaters[0].register_forward_hook(lambda _, inputs, output: left.append(output))
    head.levels[1][0].register_forward_hook(lambda _, inputs, output: entered.append(inputs[0]))
    head.decode(features((3, 3), (3, 3), (3, 3)))
    assert len(left) == len(entered) == 1 and entered[0] is left[0]


def test_pictures_show_each_level_and_the_sum():
    maps = features((3, 3), (3, 3), (3, 3))
    shown = make_head().eval().token_maps(maps)
    assert list(shown) == ["mask 1", "mask 2", "sum of masks 1-2", "mask 3", "sum of masks 1-3"]
    total = shown["mask 1"] + shown["mask 2"] + shown["mask 3"]
    torch.testing.assert_close(shown["sum of masks 1-3"], total)


def test_pictures_of_shrunk_have_no_sums():
    head = make_head(shrunk_bases(), num_layers=1, sum_masks=False).eval()
    maps = features((3, 3)) | {"block7": torch.randn(2, 24, 2, 2)}
    shown = head.token_maps(maps)
    assert list(shown) == ["mask 1", "mask 2", "mask 3"]
    torch.testing.assert_close(list(shown.values()), [own for own, _, _ in head.decode(maps)])


@pytest.mark.parametrize("shrunk", [False, True])
def test_first_weights_are_those_of_the_plain_rendering(shrunk):
    """Drawn from the same distributions, and copies of one another in the same places."""
    torch.manual_seed(0)
    bases = LinearBases(blocks=[2, 5, 7], channels=64, width=64)
    if shrunk:
        upsample = QueryUpsample(blocks=[2, 7], channels=64, width=64, img_size=128, stride=16, num_heads=2)
        bases = Repeated(bases=upsample, times=3)
    num_layers, side = (1, 8) if shrunk else (3, None)
    args = dict(num_classes=40, width=64, num_heads=2, num_layers=num_layers, size_feature="block2", stride=16)
    head = SegViTHead(bases=bases, criterion=CombinedCrossEntropy(), **args)
    ours, wanted = head.state_dict(), plain.first_weights(channels=64, width=64, num_classes=40, side=side)
    assert {name: x.shape for name, x in ours.items()} == {name: x.shape for name, x in wanted.items()}
    for name, value in wanted.items():
        spread, most = (float(f(value)) for f in (lambda x: x.std(correction=0), lambda x: x.abs().max()))
        assert float(ours[name].std(correction=0)) == pytest.approx(spread, rel=0.1), name
        assert float(ours[name].abs().max()) == pytest.approx(most, rel=0.35), name
    drawn = [name for name, value in wanted.items() if value.std() > 0]
    alike = [{pair for pair in itertools.combinations(drawn, 2) if same(w, *pair)} for w in (ours, wanted)]
    assert alike[0] == alike[1] != set()


def same(weights, one, other):
    return weights[one].shape == weights[other].shape and torch.equal(weights[one], weights[other])


def test_first_weights_at_the_width_of_vit_b():
    torch.manual_seed(0)
    bases = LinearBases(blocks=[2], channels=8, width=384)
    args = dict(num_classes=2, width=384, num_heads=12, num_layers=1, size_feature="block2", stride=16)
    (layer,) = SegViTHead(bases=bases, criterion=CombinedCrossEntropy(), **args).levels[0]
    assert layer.self_attention.key.weight.std().item() == pytest.approx(0.036, abs=3e-4)
    for part in (layer.cross_attention.key, layer.self_attention.out, layer.feed_forward[0]):
        assert part.weight.std().item() == pytest.approx(0.02, rel=0.02) and not part.bias.any()


class Whole(Segmentor):
    """A segmentor whose scores are given."""

    def segment(self, images):
        return [image[:2].clone() for image in images]


@pytest.mark.parametrize("reading", ["printed", "released"])
def test_scales_are_averaged_as_the_reading_has_it(reading):
    """Scores of 1 and 0.2 for a pixel, at both of two scales."""
    head = make_head(num_classes=2, reading=reading)
    model = Whole(backbone=None, sem_seg_head=head, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3)
    model.inference = MultiScale(policy=WholeImage(), scales=[1.0, 2.0], flip=True)
    (scores,) = model.scores([{"image": torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1)}])
    wanted = [1.0, 0.2] if reading == "printed" else torch.tensor([1.0, 0.2]).softmax(0).tolist()
    assert scores.flatten().tolist() == pytest.approx(wanted)


def test_readings_of_segvit_have_names():
    with pytest.raises(ValueError, match="reading is 'paper'; wanted one of printed, released"):
        make_head(reading="paper")


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="divisor of the width, 16"):
        make_head(num_heads=3)
    with pytest.raises(ValueError, match="2 in_features and 1 channels"):
        ConvBases(in_features=["res2", "res3"], channels=[8], width=16)
    with pytest.raises(ValueError, match="num_groups is 32"):
        ConvBases(channels=[8] * 4, width=16)
    with pytest.raises(ValueError, match="multiple of the stride, 16"):
        QueryUpsample(blocks=[1, 2], channels=8, width=8, img_size=50, stride=16, num_heads=2)


@pytest.mark.parametrize("kind", [TiedQueryUpsample, QueryUpsample])
def test_tied_queries_look_near_their_own_places_first(kind):
    torch.manual_seed(0)
    upsample = kind(blocks=[2, 7], channels=128, width=64, img_size=128, stride=16, num_heads=4)
    args = dict(num_classes=3, width=64, num_heads=4, size_feature="block2", stride=16)
    SegViTHead(bases=upsample, criterion=CombinedCrossEntropy(), **args)
    queries = upsample.queries.flatten(2).transpose(1, 2)
    memory = upsample.project[0](sine_codes((8, 8), 128))[None]
    seen = upsample.layers[0][0].cross_attention.weights(queries, memory).mean(dim=1)[0].argmax(dim=1)
    places = torch.arange(64)
    distance = ((seen // 8 - places // 8).abs() + (seen % 8 - places % 8).abs()).float().mean()
    assert distance < 2 if kind is TiedQueryUpsample else distance > 4
