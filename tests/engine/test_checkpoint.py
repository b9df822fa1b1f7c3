import os
from pathlib import Path

import pytest
import torch
from torch import nn

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.engine.checkpoint import Checkpointer, last_checkpoint
from tokenseg.sgr.plug import ReasoningBackbone


def net(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))


def stored(tmp_path, state, name="weights.pth"):
    torch.save({"model": state}, tmp_path / name)
    return str(tmp_path / name)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_save_and_load(tmp_path):
    model, again = net(), net()
    Checkpointer(model, str(tmp_path), head=model[1]).save("model_1", iteration=5)
    head = nn.Linear(3, 2)
    extra = Checkpointer(again, str(tmp_path), head=head).load(str(tmp_path / "model_1.pth"))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert extra == {"iteration": 5} and torch.equal(head.weight, model[1].weight)
    assert names(tmp_path) == ["last_checkpoint", "model_1.pth"]


def test_only_the_main_process_writes(tmp_path):
    checkpointer = Checkpointer(net(), str(tmp_path))
    checkpointer.save_to_disk = False
    checkpointer.save("model")
    assert names(tmp_path) == []


def test_tags_say_where_to_resume(tmp_path):
    checkpointer = Checkpointer(net(), str(tmp_path))
    checkpointer.save("model_1")
    checkpointer.save("model_best", tag=False)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_1.pth")
    checkpointer.save("model_2")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_2.pth")


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    checkpointer = Checkpointer(net(), str(tmp_path))
    checkpointer.save("model")
    before = (tmp_path / "model.pth").read_bytes()

    def full_disk(_data, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    for name in ("model", "other"):
        with pytest.raises(OSError, match="no space left"):
            checkpointer.save(name)
    assert names(tmp_path) == ["last_checkpoint", "model.pth"]
    assert (tmp_path / "model.pth").read_bytes() == before
    assert (tmp_path / "last_checkpoint").read_text() == "model.pth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("1.bias"), r"this model: 1 missing: 1\.bias$"),
        (lambda state: state.update(x=torch.zeros(1)), r"this model: 1 unexpected: x$"),
        (
            lambda state: state.update({"0.bias": torch.zeros(7), "0.weight": torch.zeros(1)}),
            r"this model: 2 of another shape: 0\.weight \(1,\), wanted \(3, 2\), 0\.bias \(7,\), wanted \(3,\) \(",
        ),
    ],
)
def test_keys_must_fit(tmp_path, change, message):
    state = net().state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        Checkpointer(net()).load(stored(tmp_path, state))


@pytest.mark.parametrize("strict", [True, False])
def test_other_shapes_are_left_out_where_wanted(tmp_path, strict):
    model, state = net(), net().state_dict()
    state["1.bias"], state["1.weight"] = torch.zeros(5), torch.zeros(5, 3)
    path = stored(tmp_path, state)
    with pytest.raises(ValueError, match=r"this model: 2 of another shape"):
        Checkpointer(net(), strict=strict).load(path)
    Checkpointer(model, strict=strict, skip_mismatched=True).load(path)
    assert torch.equal(model[0].weight, state["0.weight"]) and model[1].bias.shape == (2,)


def test_loose_loading_lists_what_did_not_fit(tmp_path, caplog):
    model, state = net(), net().state_dict()
    state["x"] = state.pop("1.bias")
    Checkpointer(model, strict=False).load(stored(tmp_path, state))
    assert torch.equal(model[0].weight, state["0.weight"])
    assert "1 weights missing:\n  1.bias" in caplog.text and "1 weights unexpected:\n  x" in caplog.text


def test_a_backbone_left_random_is_told(tmp_path):
    model = nn.Sequential()
    model.add_module("backbone", nn.Linear(2, 2))
    model.add_module("head", nn.Linear(2, 2))
    state = model.state_dict()
    Checkpointer(model, strict=False).load(stored(tmp_path, {"backbone.bias": state["backbone.bias"]}))
    state = {key.replace("backbone", "backbone.backbone"): value for key, value in state.items()}
    with pytest.raises(
        ValueError, match=r"none of the backbone's 2 weights.*2 of its names are unknown.*backbone\.backbone\.weight"
    ):
        Checkpointer(model, strict=False).load(stored(tmp_path, state))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_bare_state_dict_will_do(tmp_path, prefix):
    model, state = net(), net().state_dict()
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "weights.pth")
    Checkpointer(model).load(str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())


@pytest.mark.parametrize("foreign", [{"a": torch.zeros(2)}, {k: torch.zeros(9, 9, 9) for k in net().state_dict()}, {}])
@pytest.mark.parametrize("strict", [True, False])
def test_foreign_checkpoints_are_refused(tmp_path, foreign, strict):
    with pytest.raises(ValueError, match="contains none of the model's 4 weights"):
        Checkpointer(net(), strict=strict).load(stored(tmp_path, foreign))


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_broken_files_are_told(tmp_path, kept):
    path = Path(stored(tmp_path, net().state_dict()))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"weights '.*weights\.pth' cannot be read"):
        Checkpointer(net()).load(str(path))


def test_code_is_read_only_where_allowed(tmp_path):
    model = net()
    torch.save({"model": model.state_dict(), "note": Path("a")}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth.*train\.allow_pickle=true"):
        Checkpointer(net()).load(str(tmp_path / "weights.pth"))
    assert Checkpointer(net(), allow_pickle=True).load(str(tmp_path / "weights.pth"))["note"] == Path("a")


def test_missing_files():
    with pytest.raises(ValueError, match=r"weights 'none\.pth' do not exist"):
        Checkpointer(net()).load("none.pth")


def test_what_cannot_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.pkl' is not a weights file, .*train\.allow_pickle=true"):
        Checkpointer(nn.Linear(2, 2)).load("detectron2://a.pkl")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    model = net()
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("model")
    before = (tmp_path / "model.pth").read_bytes()
    with torch.no_grad():
        model[1].bias[1] = value
    with pytest.raises(FloatingPointError, match=r"1 of the model's 4 weights are not finite, such as 1\.bias\."):
        checkpointer.save("model")
    assert (tmp_path / "model.pth").read_bytes() == before and names(tmp_path) == ["last_checkpoint", "model.pth"]


def test_finite_weights_of_any_kind_are_saved(tmp_path):
    model = nn.ModuleDict({"norm": nn.BatchNorm1d(2), "none": nn.Linear(0, 2), "small": nn.Linear(2, 2).half()})
    with torch.no_grad():
        model["small"].weight.fill_(6e4)  # its square overflows only in half precision
    Checkpointer(model, str(tmp_path)).save("model")
    assert names(tmp_path) == ["last_checkpoint", "model.pth"]


def test_a_run_cut_before_its_tag_goes_on_from_the_newest(tmp_path):
    assert last_checkpoint(str(tmp_path)) == last_checkpoint(str(tmp_path / "none")) == ""
    for age, name in enumerate(("model_0000009.pth", "model_0000003.pth", "model_best.pth")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / "model_0000003.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / "model_0000009.pth")


class Normed(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.backbone = nn.ModuleDict({trunk: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))})
        self.head = nn.Linear(4, 2)


def test_counters_of_batch_norms_are_no_weights_of_a_backbone(tmp_path):
    """If a file without versions lacks the counters, torch fills them in and reports nothing as missing."""
    state = dict(Normed("trunk").state_dict())
    model = Normed("other")
    with pytest.raises(ValueError, match=r"none of the backbone's 6 weights, such as backbone\.other\.0\.weight"):
        Checkpointer(model, strict=False).load(stored(tmp_path, state))
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("tracked")}
    with pytest.raises(ValueError, match="none of the model's 8 weights"):
        Checkpointer(model, strict=False).load(stored(tmp_path, counters))


def test_a_plain_checkpoint_into_a_model_with_a_component_is_refused(tmp_path):
    backbone = TimmPyramid(
        model_name="resnet10t", out_features=["res2"], pretrained=False, timm_args={"channels": (8, 8, 8, 8)}
    )
    plain, plugged = nn.Module(), nn.Module()
    plain.backbone, plain.head = backbone, nn.Conv2d(8, 2, 1)
    plugged.backbone = ReasoningBackbone(backbone=backbone, components={"res2": nn.Identity()})
    plugged.head = nn.Conv2d(8, 2, 1)
    path = stored(tmp_path, dict(plain.state_dict()))
    with pytest.raises(ValueError, match="none of the backbone's"):
        Checkpointer(plugged, strict=False).load(path)
