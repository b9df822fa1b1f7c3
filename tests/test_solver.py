import pytest
import torch
from torch import nn

from tokenseg.solver import parameter_groups, warmup_poly


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
    with pytest.raises(ValueError, match=r"begins with 'decode_head', 'head\.cnv' .*; names begin with backbone, head"):
        rules(model, lr_factors={"decode_head": 10.0, "head.cnv": 2.0, "head": 1.0})


@pytest.mark.parametrize(
    ("iteration", "factor"),
    [(0, 1e-6), (5, 0.45), (10, 0.9), (50, 0.5), (99, 0.01), (100, 0.0)],
)
def test_schedule_by_hand(iteration, factor):
    schedule = warmup_poly(max_iter=100, warmup_iter=10, power=1.0)
    assert schedule(iteration / 100) == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize("warmup_iter", [0, 4])
def test_power(warmup_iter):
    schedule = warmup_poly(max_iter=8, warmup_iter=warmup_iter, power=2.0)
    assert schedule(0.5) == pytest.approx(0.25) and schedule(0.75) == pytest.approx(0.0625)


def test_schedules_of_nothing_but_warmup():
    schedule = warmup_poly(max_iter=4, warmup_iter=4, power=1.0, warmup_factor=0.5)
    assert schedule(0) == pytest.approx(0.5) and schedule(0.5) == pytest.approx(0.25)


@pytest.mark.parametrize("warmup_iter", [-1, 101])
def test_warmup_must_fit(warmup_iter):
    with pytest.raises(ValueError, match=f"warmup_iter is {warmup_iter}; wanted 0 to train.max_iter, 100"):
        warmup_poly(max_iter=100, warmup_iter=warmup_iter, power=1.0)
