"""Compiled models learn what the others do. Dynamo takes the graphs, and torch runs them as they are: what a compiler
then makes of a graph is its own matter."""

import copy

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage

from detectors import narrow_config, sample
from test_methods import METHODS
from test_processes import differences, gradients, samples, still
from tokenseg.engine.build import begin_random, compile_parts

# Graphs of a step: the backbone and the head, and what is around losses whose number of masks differs; every layer of
# Mask2Former's pixel decoder samples outside the graphs.
MOST_GRAPHS = 8
MOST_OF_SAMPLING = 14


@pytest.fixture
def graphs():
    """The graphs that the backend `count` has taken."""
    torch.compiler.reset()  # graphs of other tests count towards the limit of recompilations
    return []


def compiled(model, graphs):
    """A compiled copy of a model."""

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
    """At two sizes, as images of a detector's training have many."""
    model = begin_random(instantiate(narrow_config(name).model)).train()
    fast = compiled(model, graphs)
    for size in ((64, 64), (96, 64)):
        losses = []
        for each in (fast, model):
            torch.manual_seed(0)  # for the regions that are drawn
            with EventStorage():  # where a detector's parts write what they count
                losses.append(each([sample([(4, 4, 40, 36), (20, 24, 60, 60)], size)]))
        torch.testing.assert_close(*losses)
    assert len(graphs) <= MOST_GRAPHS
