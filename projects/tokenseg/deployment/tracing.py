"""Tracing of a `WholePass` by `torch.export`, which gives a program of tensor operations."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ..contracts import AttendsInWindows
from .whole_pass import WholePass

# The name of the input in the program and in exported files.
INPUT = "images"


def example_images(model: WholePass, size: tuple[int, int] | None, *, count: int = 2) -> Tensor:
    """Draw random images (count, C, h, w) in grey levels.

    Args:
        model: The model that will run on the images.
        size: The size (h, w). None for a small size that needs padding and at which every map has several attention
            windows along each side, if the model has windows: torch would record a single window as a constant.
        count: The number of images.
    """
    unit = max(model.divisor, 8)
    parts = model.segmentor.backbone.modules()
    windows = max((part.window_span for part in parts if isinstance(part, AttendsInWindows)), default=0) // unit
    height, width = size or ((windows + 3) * unit - 5, (windows + 4) * unit - 7)
    return torch.rand(count, model.channels, height, width) * 255


def trace(model: WholePass, *, size: tuple[int, int] | None) -> ExportedProgram:
    """Trace the model with `torch.export`, for any number of images.

    Args:
        model: The model, on the CPU. As a side effect, its parameters no longer require gradients.
        size: The size (height, width) of the images in pixels; None for any size.

    Raises:
        ValueError: The model does not accept images of this size, or cannot be traced for all sizes.
    """
    model.eval().requires_grad_(False)
    images = example_images(model, size)
    sides = {} if size else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        model(images)  # the model's own error messages are easier to read than those of the tracer
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
    except Exception as error:  # torch.export raises errors of many types
        if not open_sides:
            raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the model cannot be traced for images of any size ({reason}); wanted --size H W instead of --dynamic-size"
        ) from error


def _drop_assertions(module: torch.fx.GraphModule) -> None:
    """Remove the program's assertions about sizes.

    Many of them hold only for the example images, for instance that they need padding. Others are about the memory
    layout of tensors, on which the operations do not depend. ONNX files have no assertions at all.
    """
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
