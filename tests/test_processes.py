"""Two processes with an image each are one process with both, for every method: batch norms and losses run over all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from test_methods import METHODS, batch, tiny_model

TESTS = Path(__file__).resolve().parent


def gradients(name, images):
    """Of a method's small model without dropout, for some of two images whose labels are spread unevenly."""
    model = tiny_model(name).train()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    torch.manual_seed(1)
    left, right = (
        torch.full((64, 64), 255),
        torch.randint(0, 5, (4, 4)).repeat_interleave(16, 0).repeat_interleave(16, 1),
    )
    left[50] = 3  # too thin for a connected component
    right[:, :20] = 1
    samples = batch(left, right)
    sum(model([samples[image] for image in images]).values()).backward()
    return {key: parameter.grad for key, parameter in model.named_parameters()}


def run_one_of_two(rank, address, path):
    """The gradients of image `rank` beside the other's process, averaged over both as DDP does."""
    torch.distributed.init_process_group("gloo", init_method=address, world_size=2, rank=rank)
    found = {name: gradients(name, [rank]) for name in METHODS}
    for values in found.values():
        for value in values.values():
            torch.distributed.all_reduce(value)
            value /= 2
    if rank == 0:
        torch.save(found, path)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    path = os.pathsep.join([str(TESTS.parent / "projects"), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    arguments = [f"file://{tmp_path}/meet", str(tmp_path / "gradients.pth")]
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), *arguments], env=environment) for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    together = torch.load(arguments[1])
    assert set(together) == set(METHODS)
    apart = {}
    for name, found in together.items():
        wanted = gradients(name, [0, 1])
        off = torch.stack([(found[key] - wanted[key]).norm() for key in wanted]).norm()
        apart[name] = float(off / torch.stack([value.norm() for value in wanted.values()]).norm())
    assert {name: value for name, value in apart.items() if value > 1e-2} == {}


if __name__ == "__main__":
    run_one_of_two(int(sys.argv[1]), *sys.argv[2:])
