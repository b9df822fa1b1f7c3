"""Compiled models of every method, host and detector learn what the others do. Dynamo takes the graphs, and torch runs
them as they are (backend `eager`): what a compiler then makes of a graph is its own matter."""

import copy

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage

from detectors import DETECTORS, narrow_config, sample
from test_methods import METHODS
from test_processes import differences, gradients, samples, still
from tokenseg.engine.build import begin_random, compile_parts


@pytest.fixture(autouse=True)
def no_graphs():
    """Graphs of other tests count towards the limit of recompilations."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow("compiled methods and hosts")
@pytest.mark.parametrize("name", METHODS)
def test_compiled_methods_have_the_same_gradients(name):
    """Also in a second step of other labels, in which nothing may be compiled again."""
    model = still(name)
    compiled = copy.deepcopy(model)
    compile_parts(compiled, backend="eager")
    images = samples()
    for part, stance in ((images[:2], "default"), (images[1::-1], "fail_on_recompile")):
        with torch.compiler.set_stance(stance):
            found = gradients(compiled, part, 1)
        assert differences(found, gradients(model, part, 1)) == {}


@pytest.mark.slow("compiled detectors")
@pytest.mark.parametrize("name", DETECTORS)
def test_compiled_detectors_have_the_same_losses(name):
    torch.manual_seed(0)
    model = begin_random(instantiate(narrow_config(name).model)).train()
    compiled = copy.deepcopy(model)
    compile_parts(compiled, backend="eager")
    images = [sample([(4, 8, 40, 60), (30, 5, 60, 40)]), sample([(2, 2, 30, 30)])]
    losses = []
    for each in (compiled, model):
        torch.manual_seed(1)
        with EventStorage():
            losses.append(each(images))
    assert losses[0].keys() == losses[1].keys()
    for term, value in losses[1].items():
        torch.testing.assert_close(losses[0][term], value, rtol=1e-4, atol=1e-6, msg=term)
