"""Fixtures for the tests of several backbones."""

import pytest
import torch

from tokenseg.solver import parameter_groups


@pytest.fixture
def gradients():
    """A function that returns the gradients, by name, of one backward pass through all maps."""

    def run(backbone, images):
        backbone.zero_grad()
        torch.manual_seed(0)
        sum(x.square().mean() for x in backbone.train()(images).values()).backward()
        return {name: parameter.grad for name, parameter in backbone.named_parameters()}

    return run


@pytest.fixture
def without_decay():
    """A function that returns the names of the parameters without weight decay in the optimiser."""

    def run(backbone):
        groups = parameter_groups(model=backbone, lr=1.0, weight_decay=0.1)
        exempt = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
        return {name for name, parameter in backbone.named_parameters() if id(parameter) in exempt}

    return run
