"""From a whole pass in Python to a program of operations on tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ..contracts import AttendsInWindows
from .whole_pass import WholePass

# What the images are called in the program and in files.
INPUT = "images"


def example_images(model: WholePass, size: tuple[int, int] | None, *, count: int = 2) -> Tensor:
    """Random images (count, C, h, w) in grey levels.

    Args:
        model: The pass that is to take them.
        size: (h, w); None for a small size that the model has to pad, but one at which every map has several windows
            along each side, where blocks attend in windows. torch would take a number of 1 for a constant.
        count: The number of images.
    """
    unit = max(model.divisor, 8)
    parts = model.segmentor.backbone.modules()
    windows = max((part.window_span for part in parts if isinstance(part, AttendsInWindows)), default=0) // unit
    height, width = size or ((windows + 3) * unit - 5, (windows + 4) * unit - 7)
    return torch.rand(count, model.channels, height, width) * 255


def trace(model: WholePass, *, size: tuple[int, int] | None) -> ExportedProgram:
    """Record what the model does with images, by `torch.export`. The number of images stays open.

    Args:
        model: The pass, on the CPU; its parameters will want no gradients any more.
        size: (height, width) of the images in pixels; None leaves it open too.

    Raises:
        ValueError: The model takes no images of this size, or cannot be recorded for all sizes.
    """
    model.eval().requires_grad_(False)
    images = example_images(model, size)
    sides = {} if size else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        model(images)  # what the model itself refuses, it tells in a sentence
        program = _export(model, images, sides)
    _drop_assertions(program.graph_module)
    return program


def _export(model: WholePass, images: Tensor, open_sides: Mapping[int, object]) -> ExportedProgram:
    try:
        return torch.export.export(
            model,
            (images,),
            dynamic_shapes={INPUT: {0: Dim.DYNAMIC, **open_sides}},
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    except Exception as error:  # torch has many kinds of them
        if not open_sides:
            raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the model cannot be recorded for images of any size ({reason}); wanted --size H W in place of "
            "--dynamic-size"
        ) from error


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
