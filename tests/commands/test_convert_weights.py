import pickle
import re
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from detectors import narrow_config
from tokenseg.commands.convert_weights import rules_for
from tokenseg.config.load import load_config
from tokenseg.engine.checkpoint import Checkpointer

CONFIGS = Path(__file__).resolve().parents[2] / "configs/structtoken"
CONFIG = str(CONFIGS / "structtoken_pwe_vit_t_ade20k_512_160k.py")
TINY = [
    "dataset={crop: 32, num_classes: 5}",
    "vit={channels: 12, last_block: 1}",
    "model.backbone.timm_args={embed_dim: 12, depth: 2, num_heads: 3}",
    "model.inference.stride=16",
]


@pytest.fixture
def theirs(tmp_path, released_shapes):
    """The path of a checkpoint in the format of the authors' training."""
    sizes = dict(C=12, K=5, G=2, L=4, D=2, P=16)
    shapes = released_shapes("backbones/mmseg_vit.txt", **sizes)
    shapes |= released_shapes("structtoken/released_heads.txt", "pwe", **sizes)
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    torch.save({"meta": {"CLASSES": ("a", "b")}, "state_dict": state, "optimizer": {}}, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


@pytest.fixture
def convert(command, theirs):
    """A function that runs the command with valid flags, except for those given, and with overrides."""

    def run(*overrides, **flags):
        given = {"config-file": CONFIG, "input": theirs, "output": theirs.parent / "ours.pth"} | flags
        words = [word for flag, value in given.items() for word in (f"--{flag}", str(value))]
        command("convert_weights", *words, *TINY, *overrides)

    return run


def test_the_result_is_a_checkpoint_of_the_config(convert, theirs, capsys):
    convert()
    lines = capsys.readouterr().out.splitlines()
    count = len(torch.load(theirs)["state_dict"])
    assert [re.match(r"\d+ weights", line)[0] for line in lines] == [f"{n} weights" for n in (count, count, 0)]
    model = instantiate(load_config(CONFIG, TINY).model)
    Checkpointer(model).load(str(theirs.parent / "ours.pth"))
    tokens = torch.load(theirs)["state_dict"]["decode_head.kernels"]
    assert torch.equal(model.sem_seg_head.tokens, tokens)
    assert sorted(path.name for path in theirs.parent.iterdir()) == ["ours.pth", "theirs.pth"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"input": "none.pth"}, r"weights 'none\.pth' do not exist"),
        ({"output": "nowhere/ours.pth"}, "nowhere is not a folder with write permission"),
        ({"output": "ours.npz"}, r"--output is ours\.npz; wanted a file name that ends in \.pth"),
        ({"config-file": CONFIG.replace("pwe", "cse")}, "does not fit this model: .* without a place in the model"),
        ({"config-file": CONFIGS / "per_pixel_vit_t_ade20k_512_160k.py"}, "no published weights .* for PerPixelHead"),
    ],
)
def test_mistakes_are_told(convert, flags, message):
    with pytest.raises(ValueError, match=message):
        convert(**flags)


def test_detectors_are_not_converted():
    with pytest.raises(ValueError, match="the config is a GeneralizedRCNN; wanted a Segmentor"):
        rules_for(instantiate(narrow_config("c4_resnet_101").model))


def test_another_class_count_is_told(convert):
    with pytest.raises(ValueError, match=r"decode_head\.kernels \(1, 5, 2, 2\), wanted \(1, 7, 2, 2\)"):
        convert("dataset.num_classes=7")


def test_the_input_is_not_overwritten(convert, theirs):
    with pytest.raises(ValueError, match="is the --input; wanted a new file"):
        convert(output=theirs)


def test_pickles_of_arrays_are_read_where_allowed(convert, theirs):
    state = {name: value.numpy() for name, value in torch.load(theirs)["state_dict"].items()}
    arrays = theirs.with_suffix(".pkl")
    arrays.write_bytes(pickle.dumps({"model": state, "__author__": "someone"}))
    with pytest.raises(ValueError, match="if you trust its source, allow this with --allow-pickle"):
        convert(input=arrays)
    convert("--allow-pickle", input=arrays)
    from_arrays = torch.load(theirs.parent / "ours.pth")["model"]
    (theirs.parent / "ours.pth").unlink()
    convert()
    wanted = torch.load(theirs.parent / "ours.pth")["model"]
    assert all(torch.equal(from_arrays[name], value) for name, value in wanted.items())
    arrays.write_bytes(b"no pickle")
    with pytest.raises(ValueError, match=r"theirs\.pkl' cannot be read"):
        convert("--allow-pickle", input=arrays)


def test_code_is_read_only_where_allowed(convert, theirs):
    torch.save(torch.load(theirs) | {"note": Path("a")}, theirs)
    with pytest.raises(ValueError, match="if you trust its source, allow this with --allow-pickle"):
        convert()
    convert("--allow-pickle")
    assert (theirs.parent / "ours.pth").exists()
