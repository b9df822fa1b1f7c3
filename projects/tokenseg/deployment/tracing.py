"""From a whole pass in Python to a program of operations on tensors."""

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .whole_pass import WholePass

# What the images are called in the program and in files.
INPUT = "images"


def example_images(model: WholePass, size: tuple[int, int] | None, *, count: int = 2) -> Tensor:
    """Random images (count, C, h, w) in grey levels.

    Args:
        model: The pass that is to take them.
        size: (h, w); None for a small size that the model has to pad.
        count: The number of images.
    """
    height, width = size or (3 * model.divisor - 5, 4 * model.divisor - 7)
    return torch.rand(count, model.channels, height, width) * 255


def trace(model: WholePass, *, size: tuple[int, int] | None) -> ExportedProgram:
    """Record what the model does with images, by `torch.export`. The number of images stays open.

    Args:
        model: The pass, on the CPU; its parameters will want no gradients any more.
        size: (height, width) of the images in pixels; None leaves it open too.

    Raises:
        ValueError: The model takes no images of this size, or of one size alone.
    """
    model.eval().requires_grad_(False)
    images = example_images(model, size)
    sides = {} if size else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        model(images)  # what the model itself refuses, it tells in a sentence
        program = torch.export.export(
            model,
            (images,),
            dynamic_shapes={INPUT: {0: Dim.DYNAMIC, **sides}},
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    _drop_assertions(program.graph_module)
    return program


def _drop_assertions(module: torch.fx.GraphModule) -> None:
    """Remove what the program asserts of sizes.

    Much of it is true of the example alone, for instance that the images need padding, and says how tensors lie in
    memory, on which the operations do not depend. ONNX files have no assertions at all.
    """
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
