"""Compiled models of all methods, and detectors with compiled backbones, train like models that are not compiled.

Dynamo captures the graphs, and torch runs them unchanged. Code generation is not tested here.
"""

import copy

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage

from detectors import narrow_config, sample
from test_methods import METHODS
from test_processes import differences, gradients, samples, still
from tokenseg.engine.build import begin_random, compile_parts

# The largest number of graphs of a step. Heads with mask losses have several: masks are found outside of graphs.
# Mask2Former has more, because each layer of its pixel decoder samples outside of them.
MOST_GRAPHS = 8
MOST_OF_SAMPLING = 14


@pytest.fixture
def graphs():
    """The list of graphs that Dynamo captures in a test, empty at its start."""
    torch.compiler.reset()  # otherwise graphs of other tests would count towards the limit of recompilations
    return []


def compiled(model, graphs):
    """Return a compiled copy of a model, which appends its graphs to a list."""

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model = copy.deepcopy(model)
    compile_parts(model, backend=count)
    return model


@pytest.mark.slow("compiled methods")
@pytest.mark.parametrize("name", METHODS)
def test_compiled_methods_have_the_same_gradients(name, graphs):
    model, images = still(name), samples()[:2]
    assert differences(gradients(compiled(model, graphs), images, 1), gradients(model, images, 1)) == {}
    assert 2 <= len(graphs) <= (MOST_OF_SAMPLING if name == "mask2former" else MOST_GRAPHS)


@pytest.mark.slow("compiled detectors")
@pytest.mark.parametrize("name", ["dc5_sgr_resnet_101", "fpn_sgr_swin_t", "sfp_vit_b"])
def test_compiled_backbones_of_detectors_have_the_same_losses(name, graphs):
    """The images have two sizes, since those of a detector's training have many."""
    model = begin_random(instantiate(narrow_config(name).model)).train()
    fast = compiled(model, graphs)
    for size in ((64, 64), (96, 64)):
        losses = []
        for each in (fast, model):
            torch.manual_seed(0)  # detectors sample regions at random
            with EventStorage():  # in which detectors log
                losses.append(each([sample([(4, 4, 40, 36), (20, 24, 60, 60)], size)]))
        torch.testing.assert_close(*losses)
    assert len(graphs) <= MOST_GRAPHS
