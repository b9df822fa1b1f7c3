import struct
import zipfile

import pytest
import torch
from torch import nn
from torch.serialization import set_crc32_options

from tokenseg.backbones.weights import load_timm_weights
from tokenseg.checkpoint_file import DamagedFile, read_checkpoint
from tokenseg.engine.checkpoint import Checkpointer

STATE = {"model": {"a": torch.arange(1000.0), "b": torch.ones(1000)}, "iteration": 3}


@pytest.fixture
def path(tmp_path):
    torch.save(STATE, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def flip(path, record):
    """Flip a bit in the middle of a record."""
    (info,) = [info for info in zipfile.ZipFile(path).infolist() if info.filename.endswith(record)]
    data = bytearray(path.read_bytes())
    # The content follows the header of 30 bytes, the name, and a further field, whose lengths are in the header.
    lengths = struct.unpack_from("<HH", data, info.header_offset + 26)
    data[info.header_offset + 30 + sum(lengths) + info.file_size // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("record", ["data/0", "data/1", "data.pkl"])
def test_a_damaged_record_is_named(path, record):
    flip(path, record)
    with pytest.raises(DamagedFile, match=rf"weights\.pth' cannot be read: the record weights/{record} is damaged"):
        read_checkpoint(str(path))


def test_every_flipped_bit_is_told_or_harmless(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            loaded = read_checkpoint(str(path))
        except ValueError as error:
            assert "\n" not in str(error) and "weights.pth" in str(error)
        else:
            assert all(torch.equal(loaded["model"][key], value) for key, value in STATE["model"].items())


def test_plain_values_are_read_without_the_numbers(path):
    flip(path, "data/0")
    assert read_checkpoint(str(path), mmap=True)["iteration"] == 3
    flip(path, "data.pkl")
    with pytest.raises(DamagedFile, match=r"data\.pkl is damaged"):
        read_checkpoint(str(path), mmap=True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("kept", "told"), [(0, "the file is empty"), (100, "truncated"), (-100, "truncated")])
def test_files_that_are_cut_off(path, kept, told, legacy):
    torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=told if not legacy or not kept else r"weights\.pth"):
        read_checkpoint(str(path))


def test_files_without_sums_are_read(path):
    set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        set_crc32_options(True)
    assert read_checkpoint(str(path))["iteration"] == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "contain a list; wanted a dict of tensors"),
        (torch.ones(2), "contain a Tensor; wanted a dict of tensors"),
        ({"model": [torch.ones(2)]}, "contain a list; wanted a dict of tensors"),
        ({"epoch": 3, "lr": 0.1}, r"contain 2 values that are not tensors: epoch \(int\), lr \(float\)"),
        ({"state_dict": {"a": torch.ones(2)}}, r"not tensors: state_dict \(dict\)"),
        ({}, "contains none of the model's 2 weights"),
    ],
)
def test_files_that_hold_no_weights(path, content, told):
    torch.save(content, path)
    with pytest.raises(ValueError, match=told):
        Checkpointer(nn.Linear(2, 2)).load(str(path))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="are a folder; wanted a file in it"):
        Checkpointer(nn.Linear(2, 2)).load(str(tmp_path))


def test_weights_alone_are_nothing_to_resume_from(tmp_path):
    net = nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path / "model_final.pth")
    with pytest.raises(ValueError, match=r"contains weights without the state of the trainer; wanted.*init_checkpoint"):
        Checkpointer(net, str(tmp_path), trainer=nn.Linear(2, 2)).resume_or_load("", resume=True)


@pytest.mark.parametrize("last", ["model_0000005", "model_final"])
def test_a_damaged_last_checkpoint_names_the_one_before_it(tmp_path, last):
    checkpointer = Checkpointer(nn.Linear(40, 40), str(tmp_path))
    for name in ("model_0000001", "model_0000003", last):
        checkpointer.save(name)
    flip(tmp_path / f"{last}.pth", "data/0")
    with pytest.raises(
        DamagedFile, match=r"data/0 is damaged.*before it, model_0000003\.pth, is intact: .*last_checkp"
    ):
        checkpointer.resume_or_load("", resume=True)
    flip(tmp_path / "model_0000003.pth", "data/0")
    with pytest.raises(DamagedFile, match=r"before it, model_0000001\.pth, is intact"):
        Checkpointer(nn.Linear(40, 40), str(tmp_path)).resume_or_load("", resume=True)


def test_pretrained_weights_are_verified_too(path):
    flip(path, "data/0")
    with pytest.raises(DamagedFile, match="data/0 is damaged"):
        load_timm_weights(nn.Linear(2, 2), {"model_name": "vit_tiny_patch16_224"}, weights_file=str(path))
