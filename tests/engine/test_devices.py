import os

import pytest
import torch
from omegaconf import OmegaConf

from tokenseg.engine.devices import resolve_device, share_threads
from tokenseg.engine.precision import amp_dtype
from tokenseg.engine.run_folder import make_output_dir


@pytest.mark.parametrize(("gpu", "wanted"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, gpu, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve_device("auto") == wanted and resolve_device("cpu") == "cpu"


def test_devices_that_cannot_be(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"torch finds no GPU; wanted train\.device=auto or cpu"):
        resolve_device("cuda")
    with pytest.raises(ValueError, match=r"train\.device is 'gpu'; wanted auto, cpu or cuda"):
        resolve_device("gpu")


@pytest.mark.parametrize(
    ("enabled", "dtype", "device", "wanted"),
    [
        (True, "bfloat16", "cpu", torch.bfloat16),
        (True, "float16", "cuda", torch.float16),
        (False, "float16", "cpu", None),
    ],
)
def test_precisions(enabled, dtype, device, wanted):
    assert amp_dtype(OmegaConf.create({"enabled": enabled, "dtype": dtype}), device) == wanted


@pytest.mark.parametrize(("dtype", "message"), [("float16", "needs a GPU"), ("fp16", "wanted bfloat16 or float16")])
def test_precisions_that_cannot_be(dtype, message):
    with pytest.raises(ValueError, match=message):
        amp_dtype(OmegaConf.create({"enabled": True, "dtype": dtype}), "cpu")


@pytest.mark.parametrize(("processes", "wanted"), [(1, 8), (3, 2), (16, 1)])
def test_processes_share_the_cores(monkeypatch, processes, wanted):
    chosen = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    share_threads(processes)
    assert chosen == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    share_threads(processes)
    assert chosen == [wanted]


def test_output_folders_are_made_and_left_empty(tmp_path):
    make_output_dir(str(tmp_path / "a/b"), resume=False, training=True, overwrite=False)
    assert list((tmp_path / "a/b").iterdir()) == []


def test_output_folders_must_be_writable(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(ValueError, match=f"train.output_dir '{path}' cannot be written"):
            make_output_dir(str(path), resume=False, training=True, overwrite=False)


def test_an_earlier_run_is_guarded(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    usual = {"resume": False, "training": True, "overwrite": False}
    with pytest.raises(ValueError, match=r"earlier run; wanted --resume .*, or train.overwrite=true"):
        make_output_dir(str(tmp_path), **usual)
    for allowed in ({"resume": True}, {"training": False}):
        make_output_dir(str(tmp_path), **usual | allowed)
        assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    make_output_dir(str(tmp_path), **usual | {"overwrite": True})
    assert not (tmp_path / "last_checkpoint").exists()
