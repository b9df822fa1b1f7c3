"""The gradients of a step do not depend on how its batch is split into successive parts or over processes.

The reason is that losses are divided by counts of the whole step. The tests use double precision, and neither batch
statistics nor dropout.
"""

import sys

import pytest
import torch
from torch import nn

from benchmarks._methods import without_dropout
from test_methods import METHODS, batch, one_of_each, tiny_model
from two_processes import average, differences, join, run_both


def samples():
    """Four images with different labels: patches with an ignored border, a line, two areas, only ignored pixels."""
    torch.manual_seed(1)
    patches = torch.randint(0, 5, (4, 4)).repeat_interleave(16, 0).repeat_interleave(16, 1)
    line, two, patched, none = torch.full((4, 64, 64), 255)
    line[50] = 3  # too thin for a connected component
    two[:, :40], two[20:, 40:] = 1, 2
    patched[:60] = patches[:60]
    return batch(patched, line, two, none)


def still(name):
    """A method's small model in training mode, without random numbers and with frozen batch norms."""
    model = tiny_model(name).double().train()
    without_dropout(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def gradients(model, images, parts):
    """Compute the gradients of a step with these images of this process, in this number of parts."""
    counts, size = model.count(images), len(images) // parts
    for start in range(0, len(images), size):
        sum(model(images[start : start + size], counts).values()).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", one_of_each("counts of the whole step, for the variants of the methods"))
def test_parts_are_one_batch(name):
    model, images = still(name), samples()
    for parts, weights in ((2, None), (4, torch.tensor([0.5, 1, 2, 3, 0.25], dtype=torch.double))):
        model.class_weights = weights
        assert differences(gradients(model, images, parts), gradients(model, images, 1)) == {}


def run(words):
    """Compute the gradients of one half of the images in two parts, averaged over both processes."""
    rank, path = join(words)
    found = {name: gradients(still(name), samples()[2 * rank : 2 * rank + 2], 2) for name in METHODS}
    for values in found.values():
        average(values.values())
    if rank == 0:
        torch.save(found, path)


@pytest.mark.slow("two processes of two parts are one batch")
def test_two_processes_of_two_parts_are_one(tmp_path):
    run_both(__file__, tmp_path, tmp_path / "gradients.pth")
    together = torch.load(tmp_path / "gradients.pth")
    assert set(together) == set(METHODS)
    apart = {name: differences(found, gradients(still(name), samples(), 1)) for name, found in together.items()}
    assert {name: found for name, found in apart.items() if found} == {}


if __name__ == "__main__":
    run(sys.argv[1:])
