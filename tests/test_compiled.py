"""Compiled models of all methods train like models that are not compiled.

With the backend `eager`, Dynamo captures the graphs, and torch runs them unchanged. Code generation is not tested here.
"""

import copy

import pytest
import torch

from test_processes import differences, gradients, samples, still
from tokenseg.engine.build import compile_parts


@pytest.mark.slow("compiled methods")
@pytest.mark.parametrize("name", ["structtoken_pwe", "segvit"])
def test_compiled_methods_have_the_same_gradients(name):
    torch.compiler.reset()  # otherwise graphs of other tests would count towards the limit of recompilations
    model = still(name)
    compiled = copy.deepcopy(model)
    compile_parts(compiled, backend="eager")
    images = samples()[:2]
    assert differences(gradients(compiled, images, 1), gradients(model, images, 1)) == {}
