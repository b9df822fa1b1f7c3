"""However a step's batch is cut, into parts that run one after the other or over processes, its gradients are the same:
losses are divided by counts of the whole step. In double precision, batch statistics frozen and nothing dropped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from test_methods import METHODS, batch, one_of_each, tiny_model

TESTS = Path(__file__).resolve().parent


def samples():
    """Four images with labels of uneven number and spread, an ignored border, and nothing but ignored pixels."""
    torch.manual_seed(1)
    patches = torch.randint(0, 5, (4, 4)).repeat_interleave(16, 0).repeat_interleave(16, 1)
    line, two, patched, none = torch.full((4, 64, 64), 255)
    line[50] = 3  # too thin for a connected component
    two[:, :40], two[20:, 40:] = 1, 2
    patched[:60] = patches[:60]
    return batch(patched, line, two, none)


def still(name):
    """A method's small model in training, in which nothing is drawn and no batch norm counts."""
    model = tiny_model(name).double().train()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def gradients(model, images, parts):
    """Of a step with these images of this process, in so many parts."""
    counts, size = model.count(images), len(images) // parts
    for start in range(0, len(images), size):
        sum(model(images[start : start + size], counts).values()).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


def differences(found, wanted):
    """Parameters whose gradients differ by more than 1e-5 of their norm."""
    # Biases of keys, which shift all of a softmax, have no gradient but that of rounding.
    apart = {name: float((found[name] - value).norm() / value.norm().clamp(min=1e-9)) for name, value in wanted.items()}
    return {name: value for name, value in apart.items() if value > 1e-5}


@pytest.mark.parametrize("name", one_of_each("counts of the whole step, for the variants of the methods"))
def test_parts_are_one_batch(name):
    model, images = still(name), samples()
    for parts, weights in ((2, None), (4, torch.tensor([0.5, 1, 2, 3, 0.25], dtype=torch.double))):
        model.class_weights = weights
        assert differences(gradients(model, images, parts), gradients(model, images, 1)) == {}


def run_one_of_two(rank, address, path):
    """Gradients of a half of the images in two parts, averaged over both processes as DistributedDataParallel does."""
    torch.distributed.init_process_group("gloo", init_method=address, world_size=2, rank=rank)
    found = {name: gradients(still(name), samples()[2 * rank : 2 * rank + 2], 2) for name in METHODS}
    for values in found.values():
        for value in values.values():
            torch.distributed.all_reduce(value)
            value /= 2
    if rank == 0:
        torch.save(found, path)


@pytest.mark.slow("two processes of two parts are one batch")
def test_two_processes_of_two_parts_are_one(tmp_path):
    path = os.pathsep.join([str(TESTS.parent / "projects"), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    arguments = [f"file://{tmp_path}/meet", str(tmp_path / "gradients.pth")]
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), *arguments], env=environment) for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    together = torch.load(arguments[1])
    assert set(together) == set(METHODS)
    apart = {name: differences(found, gradients(still(name), samples(), 1)) for name, found in together.items()}
    assert {name: found for name, found in apart.items() if found} == {}


if __name__ == "__main__":
    run_one_of_two(int(sys.argv[1]), *sys.argv[2:])
