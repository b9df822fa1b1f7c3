"""ECENet's head as a whole: against a plain rendering, its losses, and what it must take."""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate
from torch import nn
from torch.nn import functional as F

from reference import ecenet as plain
from reference.weights import Weights
from shapes import shapes_only
from tokenseg.config.load import load_config
from tokenseg.contracts import Targets
from tokenseg.ecenet.blocks import SemanticsAttention
from tokenseg.ecenet.head import ECENetHead
from tokenseg.ecenet.readings import gated_updater
from tokenseg.ecenet.reconstruction import diversity_loss, feature_reconstructions
from tokenseg.layers.class_embedding import ExplicitClassExtraction, GatedClassUpdater, PlusClassUpdater
from tokenseg.losses.mask import MaskLoss, MaskPrediction
from tokenseg.losses.pixel import pixel_cross_entropy

ROOT = Path(__file__).resolve().parents[2]
CHANNELS = [4, 8, 12, 16]
NAMES = ["res2", "res3", "res4", "res5"]


def make_head(num_classes=3, reading="default", **args):
    args = (
        dict(
            reading=reading,
            reconstructions=feature_reconstructions(channels=CHANNELS, reading=reading),
            extraction=ExplicitClassExtraction(num_classes=num_classes, width=8),
            attention=SemanticsAttention(width=8, num_heads=2, reading=reading),
            updater=gated_updater(width=8, reading=reading),
            mask_loss=MaskLoss(num_classes=num_classes, weights=dict(focal=5.0, dice=2.0)),
        )
        | args
    )
    return ECENetHead(
        in_features=NAMES, channels=CHANNELS, num_classes=num_classes, width=8, mask_groups=2, norm="BN", **args
    )


def make_features(*sizes, count=2):
    """Maps of four stages, the finest first, of the sizes given."""
    return {
        name: torch.randn(count, channels, *size) for name, channels, size in zip(NAMES, CHANNELS, sizes, strict=True)
    }


HIERARCHICAL = [(16, 24), (8, 12), (4, 6), (2, 3)]
DILATED = [(16, 24), (8, 12), (8, 12), (8, 12)]
ODD = [(13, 9), (7, 5), (4, 3), (2, 2)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("sizes", "args"),
    [
        (HIERARCHICAL, {}),
        (DILATED, {}),
        (ODD, {}),
        (ODD, dict(reconstructions=None)),
        (ODD, dict(reading="printed")),
        (HIERARCHICAL, dict(reading="released")),
    ],
)
def test_the_head_follows_the_equations(sizes, args, training):
    head, features = make_head(dropout=0.0, **args).train(training), make_features(*sizes)
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.running_mean)
    released = args.get("reading") == "released"
    maps = list(features.values())
    wanted = plain.decode(maps, Weights.of(head), num_heads=2, training=training, released=released)
    decoded = head.decode(features)
    close = dict(rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decoded.scores, wanted.scores, **close)
    torch.testing.assert_close(decoded.masks[::-1], wanted.masks, **close)
    if training:
        targets = torch.randint(0, 3, (2, 31, 40))
        losses = head.losses(decoded, Targets.alone(head, targets))
        torch.testing.assert_close(sum(losses.values()), plain.loss(wanted, targets), **close)
        torch.testing.assert_close(decoded.diverse, wanted.diverse, **close)


@pytest.mark.parametrize("num_classes", [2, 171])
@pytest.mark.parametrize("sizes", [HIERARCHICAL, DILATED, ODD, [(2, 2), (1, 1), (1, 1), (1, 1)]])
def test_any_size_and_class_count(num_classes, sizes):
    head = make_head(num_classes).eval()
    with torch.no_grad():
        scores, _ = head(make_features(*sizes))
    assert scores.shape == (2, num_classes, *sizes[0]) and torch.isfinite(scores).all()


@pytest.mark.parametrize(
    "args",
    [
        {},
        dict(reconstructions=None),
        dict(updater=PlusClassUpdater()),
        dict(diversity_weight=0),
        dict(attention=SemanticsAttention(width=8, num_heads=2, reverse_similarity=True)),
    ],
)
def test_every_parameter_has_a_gradient_that_is_not_zero(args):
    head = make_head(**args).train()
    _, losses = head(make_features(*HIERARCHICAL), Targets.alone(head, torch.randint(0, 3, (2, 64, 96))))
    assert ("loss_diversity" in losses) == ("reconstructions" not in args and "diversity_weight" not in args)
    sum(losses.values()).backward()
    dead = [name for name, parameter in head.named_parameters() if not parameter.grad.abs().max() > 0]
    assert dead == []


def test_losses_are_those_of_the_parts():
    head, features, targets = (
        make_head(dropout=0.0).train(),
        make_features(*HIERARCHICAL),
        torch.randint(0, 3, (2, 9, 7)),
    )
    targets[0, :4] = 255
    targets = Targets.alone(head, targets)
    _, losses = head(features, targets)
    decoded = head.decode(features)
    # the sum of three masks without the finest, which the mask losses see as it is
    masks = sum(F.interpolate(mask, size=(16, 24), mode="bilinear") for mask in decoded.masks[:3])
    wanted = MaskLoss(num_classes=3, weights=dict(focal=5.0, dice=2.0))([MaskPrediction(masks)], targets)
    wanted["loss_sem_seg"] = pixel_cross_entropy(decoded.scores, targets, ignore_value=255)
    wanted["loss_diversity"] = 0.2 * sum(diversity_loss(diverse) for diverse in decoded.diverse) / 4 / 2
    torch.testing.assert_close(losses, wanted)


def test_no_label_leaves_the_diversity_loss_alone():
    head = make_head().train()
    _, losses = head(make_features(*HIERARCHICAL), Targets.alone(head, torch.full((2, 64, 96), 255)))
    assert {name for name, value in losses.items() if value.item() != 0} == {"loss_diversity"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())


def test_updaters_are_apart():
    first, *others = make_head().updaters
    assert all(not torch.equal(first.out.weight, other.out.weight) for other in others)


def test_pictures_show_masks_stage_by_stage():
    head, features = make_head().eval(), make_features(*HIERARCHICAL)
    with torch.no_grad():
        maps = head.token_maps(features)
    assert list(maps) == ["mask 4", "mask 3", "mask 2", "mask 1", "sum of masks", "scores"]
    assert [tuple(x.shape[-2:]) for x in maps.values()] == [*HIERARCHICAL[::-1], (16, 24), (16, 24)]


def test_norms_are_those_of_the_released_model():
    norms = [module for module in make_head().modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 4 + 3 * 3 + 3 * 3 and {norm.eps for norm in norms} == {1e-5}


def test_what_does_not_fit_is_refused():
    for part in (feature_reconstructions, SemanticsAttention, gated_updater):
        arguments = dict(channels=CHANNELS) if part is feature_reconstructions else dict(width=8)
        with pytest.raises(ValueError, match="reading is 'text'; wanted one of default, printed, released"):
            part(**arguments, reading="text")
    with pytest.raises(ValueError, match="have \\(4, 4, 3\\) items"):
        make_head(upscale_steps=[0, 1, 2])


# The ablations of the README, as it gives them.
ABLATIONS = {
    "no reconstruction": ["model.sem_seg_head.reconstructions=null"],
    "no diversity loss": ["model.sem_seg_head.diversity_weight=0"],
    "lambda 0.1": ["model.sem_seg_head.diversity_weight=0.1"],
    "lambda 0.5": ["model.sem_seg_head.diversity_weight=0.5"],
    "plus": [
        "model.sem_seg_head.updater=null",
        "model.sem_seg_head.updater={_target_:tokenseg.layers.class_embedding.PlusClassUpdater}",
    ],
    "as released": ["model.sem_seg_head.reading=released"],
    "as printed": ["model.sem_seg_head.reading=printed"],
}


# By ablation: FR, its weight, sigmoid of its excitation, updater, attention to the unlike, ReLUs of its queries, side
# of the fusion, and the last layer of the updater.
FULL = (True, 0.2, True, GatedClassUpdater, False, 0, 3, True)
BUILT = {
    "no reconstruction": (False, *FULL[1:]),
    "no diversity loss": (True, 0, *FULL[2:]),
    "lambda 0.1": (True, 0.1, *FULL[2:]),
    "lambda 0.5": (True, 0.5, *FULL[2:]),
    "plus": (*FULL[:3], PlusClassUpdater, *FULL[4:7], False),
    "as released": (True, 0.2, False, GatedClassUpdater, True, 2, 3, True),
    "as printed": (*FULL[:6], 1, False),
}


@pytest.mark.parametrize("config", ["ecenet/ecenet_swin_b_ade20k_640_160k", "shape_scenes/ecenet"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_build_and_are_in_the_readme(name, config):
    overrides = ABLATIONS[name]
    with shapes_only():
        head = instantiate(load_config(str(ROOT / f"configs/{config}.py"), overrides).model.sem_seg_head)
    parts, weight, sigmoid, updater, unlike, relus, size, last = BUILT[name]
    assert (head.reconstructions is not None, head.diversity_weight) == (parts, weight)
    assert not parts or head.reconstructions[0].recalibrate.sigmoid == sigmoid
    assert type(head.updaters[0]) is updater and head.attentions[0].reverse_similarity == unlike
    assert sum(isinstance(part, nn.ReLU) for part in head.attentions[0].query) == relus
    assert head.fuse[0].kernel_size == (size, size)
    assert ("updaters.0.out.weight" in head.state_dict()) == last
    words = (ROOT / "projects/tokenseg/ecenet/README.md").read_text().replace("`", " ").replace("'", " ").split()
    assert all(override in words for override in overrides)


# The finest grid of the class extraction, ours and in the paper's models.
@pytest.mark.parametrize(
    ("config", "grid"),
    [
        ("ecenet_resnet_101_ade20k_512_160k", 13),
        ("ecenet_swin_b_ade20k_640_160k", 13),
        ("ecenet_swin_l_ade20k_640_160k", 13),
        ("ecenet_vit_b_ade20k_512_160k", 13),
        ("ecenet_swin_l_pascal_context_59_480_80k", 11),
        ("ecenet_swin_l_cityscapes_1024_160k", 13),
    ],
)
def test_what_parameter_counts_do_not_tell(config, grid):
    with shapes_only():
        head = instantiate(load_config(str(ROOT / f"configs/ecenet/{config}.py")).model.sem_seg_head)
    assert {part.grids[-1] for part in head.extractions} == {grid}
    assert head.mask_loss.weights == {"focal": 5.0, "dice": 2.0}
    assert head.coarsest_mask[0].weight.shape == (256, 64, 1, 1) and head.coarsest_mask[0].bias is None
    assert all(part.num_heads == 4 and part.query[1].bias is not None for part in head.attentions)
    assert isinstance(head.classify[0], torch.nn.Dropout2d) and head.classify[0].p == 0.1
