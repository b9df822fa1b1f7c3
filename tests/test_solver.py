import pytest
import timm
import torch
from detectron2.projects.deeplab.lr_scheduler import WarmupPolyLR
from timm.optim import param_groups_layer_decay
from torch import nn

from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.solver import parameter_groups, warmup_poly, warmup_step


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1))
        self.proj = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)

    def no_weight_decay(self):
        return {"pos_embed"}


@pytest.fixture
def model():
    head = nn.ModuleDict({"conv": nn.Conv2d(2, 3, 1), "bn": nn.BatchNorm2d(3), "out": nn.Conv2d(3, 3, 1)})
    return nn.ModuleDict({"backbone": Backbone(), "head": head})


def rules(model, **options):
    """Name of every parameter -> (lr, weight decay), each in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        (names[id(parameter)], (group["lr"], group["weight_decay"]))
        for group in parameter_groups(model=model, lr=1.0, weight_decay=0.1, **options)
        for parameter in group["params"]
    ]
    assert len(found) == len(dict(found))
    return dict(found)


def test_norms_and_exempt_parameters_do_not_decay(model):
    got = rules(model)
    assert {name for name, (_, decay) in got.items() if decay == 0} == {
        "backbone.pos_embed",
        "backbone.norm.weight",
        "backbone.norm.bias",
        "head.bn.weight",
        "head.bn.bias",
    }
    assert got.keys() == dict(model.named_parameters()).keys()
    assert {rate for rate, _ in got.values()} == {1.0}


def test_norms_decay_where_wanted(model):
    assert {name for name, (_, decay) in rules(model, decay_norms=True).items() if decay == 0} == {"backbone.pos_embed"}


def test_norms_decay_in_the_parts_that_are_named(model):
    exempt = {name for name, (_, decay) in rules(model, decay_norms=["head"]).items() if decay == 0}
    assert exempt == {"backbone.pos_embed", "backbone.norm.weight", "backbone.norm.bias"}
    with pytest.raises(
        ValueError,
        match=r"begins with 'decode' \(decay_norms\).*; these begin with backbone, head",
    ):
        rules(model, decay_norms=["decode"])
    with pytest.raises(ValueError, match="decay_norms is 'head'; wanted true, false, or a list"):
        rules(model, decay_norms="head")


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2, affine=True)])
def test_all_norms_count(norm):
    assert set(rules(norm).values()) == {(1.0, 0.0)}


def test_the_longest_prefix_counts(model):
    got = rules(model, lr_factors={"head": 10.0, "head.out": 3.0, "backbone.proj.bias": 2.0})
    assert got["head.conv.weight"] == (10.0, 0.1) and got["head.bn.weight"] == (10.0, 0.0)
    assert got["head.out.bias"] == (3.0, 0.1)
    assert got["backbone.proj.bias"] == (2.0, 0.1) and got["backbone.proj.weight"] == (1.0, 0.1)


def test_frozen_parameters_are_in_no_group(model):
    model["backbone"].requires_grad_(False)
    assert {name.split(".")[0] for name in rules(model, lr_factors={"backbone": 2.0})} == {"head"}


def test_groups_are_as_few_as_the_rules(model):
    assert len(parameter_groups(model=model, lr=1.0, weight_decay=0.1, lr_factors={"head": 2.0})) == 4


def test_parts_that_were_left_out_want_no_rate(model):
    model["extra_losses"] = nn.ModuleDict()
    rates = {"extra_losses": 10.0, "extra_losses.auxiliary": 5.0, "head": 2.0}
    assert len(parameter_groups(model=model, lr=1.0, weight_decay=0.1, lr_factors=rates)) == 4


def test_unused_prefixes_are_told(model):
    with pytest.raises(
        ValueError,
        match=r"begins with 'decode_head', 'head\.cnv' .*; these begin with backbone, head",
    ):
        rules(model, lr_factors={"decode_head": 10.0, "head.cnv": 2.0, "head": 1.0})


@pytest.mark.parametrize(
    ("iteration", "factor"),
    [(0, 1e-6), (5, 0.5 * 0.95), (9, 0.9 * 0.91), (10, 0.9), (50, 0.5), (99, 0.01), (100, 0.0)],
)
def test_schedule_by_hand(iteration, factor):
    """The factor is the product of the polynomial and the line, also during the warm-up."""
    schedule = warmup_poly(max_iter=100, warmup_iter=10, power=1.0)
    assert schedule(iteration / 100) == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize("warmup_iter", [0, 4])
def test_power(warmup_iter):
    schedule = warmup_poly(max_iter=8, warmup_iter=warmup_iter, power=2.0)
    assert schedule(0.5) == pytest.approx(0.25) and schedule(0.75) == pytest.approx(0.0625)


def test_schedules_of_nothing_but_warmup():
    schedule = warmup_poly(max_iter=4, warmup_iter=4, power=1.0, warmup_factor=0.5)
    assert schedule(0) == pytest.approx(0.5) and schedule(0.5) == pytest.approx(0.75 * 0.5)


@pytest.mark.parametrize("power", [1.0, 0.9, 2.0])
def test_the_curve_is_that_of_detectron2s_warmup_poly(power):
    """Detectron2's scheduler, like mmcv's, multiplies the polynomial and the warm-up."""
    parameter = nn.Parameter(torch.zeros(1))
    theirs = WarmupPolyLR(
        torch.optim.SGD([parameter], lr=1.0), 40, warmup_factor=1e-6, warmup_iters=15, power=power, constant_ending=0.0
    )
    ours = warmup_poly(max_iter=40, warmup_iter=15, power=power)
    for iteration in range(40):
        theirs.last_epoch = iteration
        assert theirs.get_lr()[0] == pytest.approx(ours(iteration / 40))


@pytest.mark.parametrize("warmup_iter", [-1, 101])
def test_warmup_must_fit(warmup_iter):
    with pytest.raises(ValueError, match=f"warmup_iter is {warmup_iter}; wanted 0 to train.max_iter, 100"):
        warmup_poly(max_iter=100, warmup_iter=warmup_iter, power=1.0)


@pytest.mark.parametrize(
    ("iteration", "factor"),
    [(0, 0.01), (5, 0.505), (9, 0.901), (10, 1), (59, 1), (60, 0.1), (79, 0.1), (80, 0.01), (99, 0.01)],
)
def test_steps_by_hand(iteration, factor):
    schedule = warmup_step(max_iter=100, milestones=[60, 80], gamma=0.1, warmup_iter=10, warmup_factor=0.01)
    assert schedule(iteration / 100) == pytest.approx(factor)


def test_a_schedule_without_steps():
    schedule = warmup_step(max_iter=100, milestones=[], warmup_iter=0)
    assert [schedule(iteration / 100) for iteration in (0, 50, 99)] == [1, 1, 1]


@pytest.mark.parametrize("milestones", [[80, 60], [60, 60], [0, 60], [60, 100]])
def test_milestones_must_fit(milestones):
    with pytest.raises(ValueError, match=r"milestones are \[\d+, \d+\]; wanted them ascending, .* 100$"):
        warmup_step(max_iter=100, milestones=milestones, warmup_iter=0)


def test_the_warmup_ends_before_the_first_step():
    with pytest.raises(ValueError, match="warmup_iter is 70; wanted at most the first milestone, 60"):
        warmup_step(max_iter=100, milestones=[60], warmup_iter=70)


FAMILIES = {
    "vit": "vit_tiny_patch16_224",
    "dinov3": "vit_small_patch16_dinov3",
    "beit": "beit_base_patch16_224",
    "eva02": "eva02_tiny_patch14_224",
}


def four_blocks(family):
    """A model with a backbone of four blocks and a head."""
    args = dict(depth=4, embed_dim=48, num_heads=3)
    backbone = PlainViT(model_name=FAMILIES[family], img_size=112, out_blocks=[1, 3], pretrained=False, timm_args=args)
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(2, 2)})


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_decay_by_hand(family):
    rates = {name: rate for name, (rate, _) in rules(four_blocks(family), layer_decay=0.5).items()}
    wanted = {"head.": 1.0, "backbone.vit.": 1 / 32}
    wanted |= {f"backbone.vit.blocks.{block}.": factor for block, factor in enumerate([1 / 16, 1 / 8, 1 / 4, 1 / 2])}
    for name, rate in rates.items():
        assert rate == wanted[max((prefix for prefix in wanted if name.startswith(prefix)), key=len)], name


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_decay_is_timms(family):
    """The groups equal those of timm for a whole timm model, with its own head."""
    whole = timm.create_model(FAMILIES[family], depth=4, embed_dim=48, num_heads=3, num_classes=3)
    names = {id(parameter): name for name, parameter in whole.named_parameters()}
    theirs = {
        names[id(p)]: group["lr_scale"]
        for group in param_groups_layer_decay(whole, layer_decay=0.7)
        for p in group["params"]
    }
    ours = {name: rate for name, (rate, _) in rules(four_blocks(family), layer_decay=0.7).items()}
    prefix = "backbone.vit."
    compared = {name: rate for name, rate in ours.items() if name.startswith(prefix)}
    assert compared == pytest.approx({name: theirs[name.removeprefix(prefix)] for name in compared})


def test_layer_decay_and_prefixes_multiply():
    got = rules(four_blocks("vit"), layer_decay=0.5, lr_factors={"backbone": 0.1})
    assert got["backbone.vit.blocks.3.mlp.fc1.weight"] == (0.05, 0.1) and got["head.weight"] == (1.0, 0.1)


@pytest.mark.parametrize(("decay", "message"), [(0.0, "is 0.0; wanted above 0"), (1.5, "is 1.5"), (0.5, "has no timm")])
def test_layer_decay_must_fit(model, decay, message):
    with pytest.raises(ValueError, match=message):
        rules(model, layer_decay=decay)
