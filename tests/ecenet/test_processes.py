"""Two processes with an image each are one process with both: batch norms and losses run over all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from tokenseg.overrides import load_config

ROOT = Path(__file__).resolve().parents[2]
SIZES = [(16, 16), (8, 8), (4, 4), (2, 2)]


def gradients(images):
    """Of a small head from its config, for some of two images whose labels are spread unevenly."""
    overrides = ["dataset.num_classes=3", "pyramid.channels=[4,8,12,16]"]
    config = load_config(str(ROOT / "configs/ecenet/ecenet_swin_b_ade20k_640_160k.py"), overrides)
    config.model.sem_seg_head.update(width=8, dropout=0.0)
    torch.manual_seed(0)
    head = instantiate(config.model.sem_seg_head).train()
    features = {f"res{place + 2}": torch.randn(2, 4 * place + 4, *size)[images] for place, size in enumerate(SIZES)}
    targets = torch.randint(0, 3, (2, 64, 64))
    targets[0, :50] = 255
    targets[1, :, :40] = 1
    _, losses = head(features, targets[images])
    sum(losses.values()).backward()
    return {name: parameter.grad for name, parameter in head.named_parameters()}


def run_one_of_two(rank, address, path):
    """The gradients of image `rank` beside the other's process, averaged over both as DDP does."""
    torch.distributed.init_process_group("gloo", init_method=address, world_size=2, rank=rank)
    found = gradients([rank])
    for value in found.values():
        torch.distributed.all_reduce(value)
        value /= 2
    if rank == 0:
        torch.save(found, path)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "projects"), "OMP_NUM_THREADS": "1"}
    arguments = [f"file://{tmp_path}/meet", str(tmp_path / "gradients.pth")]
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), *arguments], env=environment) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    torch.testing.assert_close(torch.load(arguments[1]), gradients([0, 1]), rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    run_one_of_two(int(sys.argv[1]), *sys.argv[2:])
