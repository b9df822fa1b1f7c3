import os

import pytest
import torch
from omegaconf import OmegaConf

from tokenseg.engine.devices import device_name, process_memory, resolve_device, share_threads
from tokenseg.engine.precision import amp_dtype


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


def test_memory_of_this_process():
    held = torch.ones(2**22)
    now, most = process_memory("VmRSS"), process_memory("VmHWM")
    assert held.nbytes < now <= most < 2**50 and process_memory("VmNone") is None


def test_devices_have_names(monkeypatch):
    assert device_name("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert device_name("auto") == "cuda, NVIDIA H200"
