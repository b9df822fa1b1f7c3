"""Conversion by rules: every weight gets exactly one place, and nothing is left over."""

from collections import OrderedDict

import pytest
import torch

from tokenseg.weight_rules import WeightRule, convert, layer_rules, unwrap

WANTED = {"body.0.fc.weight": torch.zeros(2, 3), "body.0.fc.bias": torch.zeros(2), "code": torch.zeros(1, 4)}
RULES = [
    *layer_rules(r"net\.layer(\d)", r"body.\1", {"proj.1": "fc"}),
    WeightRule(r"net\.pos", "code", lambda codes: codes[:, 1:]),
    WeightRule(r"aux\..*", None),
]


@pytest.fixture
def state():
    return {
        "net.layer0.proj.1.weight": torch.randn(2, 3),
        "net.layer0.proj.1.bias": torch.randn(2),
        "net.pos": torch.randn(1, 5),
        "aux.x": torch.zeros(1),
    }


def test_weights_are_renamed_transformed_and_dropped(state):
    got, dropped = convert(state, WANTED, RULES)
    assert list(got) == list(WANTED) and dropped == ["aux.x"]
    assert torch.equal(got["body.0.fc.weight"], state["net.layer0.proj.1.weight"])
    assert torch.equal(got["body.0.fc.bias"], state["net.layer0.proj.1.bias"])
    assert torch.equal(got["code"], state["net.pos"][:, 1:])


def test_rows_are_shared_by_several_names(state):
    rules = [WeightRule(r"net\.(w|b)", (r"q.\1", r"k.\1"))]
    wanted = {"q.w": torch.zeros(2, 3), "k.w": torch.zeros(2, 3), "q.b": torch.zeros(2), "k.b": torch.zeros(2)}
    state = {"net.w": torch.randn(4, 3), "net.b": torch.randn(4)}
    got, _ = convert(state, wanted, rules)
    assert torch.equal(torch.cat([got["q.w"], got["k.w"]]), state["net.w"])
    assert torch.equal(torch.cat([got["q.b"], got["k.b"]]), state["net.b"])
    with pytest.raises(ValueError, match=r"another shape: net\.b \(1,\), wanted \(2,\)"):
        convert(state | {"net.b": torch.randn(3)}, wanted, rules)


def test_weights_take_the_models_type_and_own_their_memory(state):
    got, _ = convert({name: value.half() for name, value in state.items()}, WANTED, RULES)
    assert {value.dtype for value in got.values()} == {torch.float32}
    got, _ = convert(state, WANTED, RULES)
    assert got["code"].untyped_storage().nbytes() == 4 * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"net_pos": torch.zeros(1), "y": torch.zeros(1)}), "2 that no rule matches: net_pos, y$"),
        (lambda s: s.pop("net.pos"), "1 missing for the model: code$"),
        (lambda s: s.update({"net.pos": torch.zeros(1, 7)}), r"another shape: net\.pos \(1, 6\), wanted \(1, 4\)$"),
        (
            lambda s: s.update({"net.layer1.proj.1.bias": torch.zeros(2)}),
            r"1 without a place in the model: net\.layer1\.proj\.1\.bias \(body\.1\.fc\.bias\)$",
        ),
        (
            lambda s: (s.pop("net.pos"), s.update(y=torch.zeros(1))),
            "fit this model: 1 that no rule matches: y; 1 missing for the model: code$",
        ),
    ],
)
def test_nothing_is_left_over(state, change, message):
    change(state)
    with pytest.raises(ValueError, match=message):
        convert(state, WANTED, RULES)


def test_rules_must_not_overlap(state):
    with pytest.raises(ValueError, match=r"1 that several rules match: aux\.x"):
        convert(state, WANTED, [*RULES, WeightRule(r"aux\.x", "x")])
    with pytest.raises(ValueError, match=r"1 for a place that is already taken: aux\.x \(code, by net\.pos\)"):
        convert(state, WANTED, [*RULES[:-1], WeightRule(r"aux\.x", "code")])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"meta": {"epoch": 1}, "state_dict": OrderedDict(s)},
        lambda s: {"model": {f"module.{name}": value for name, value in s.items()}},
        lambda s: {"model": {"state_dict": s}, "optimizer": {}},
    ],
)
def test_wrapping_is_taken_off(state, wrap):
    got = unwrap(wrap(state))
    assert list(got) == list(state) and all(got[name] is value for name, value in state.items())


@pytest.mark.parametrize(
    ("checkpoint", "found"),
    [({}, "nothing"), ([1], "list"), ({"state_dict": {"epoch": 3}}, "epoch"), (torch.zeros(2), "Tensor")],
)
def test_what_is_no_checkpoint_is_told(checkpoint, found):
    with pytest.raises(ValueError, match=f"contains {found}; wanted weights by name, on their own or under"):
        unwrap(checkpoint)
