"""Whether an exported file gives what its model gives."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .exported_files import RunFile
from .tracing import example_images
from .whole_pass import WholePass

# How far scores may lie apart: onnxruntime sums in another order than torch.
TOLERANCE = 1e-4


def verify(run: RunFile, model: WholePass, *, size: tuple[int, int] | None) -> float:
    """Compare an exported file with its model, on random images of several numbers and, where it takes them, sizes.

    Args:
        run: What runs the file.
        model: The model on the CPU.
        size: (height, width) of the images that the file takes; None for any.

    Returns:
        The largest distance of their scores, over the largest score where that is above 1. Of ids it is the distance,
        in the model, between the best score and that of the class which the file gives.

    Raises:
        ValueError: The file fails, or they differ by more than `TOLERANCE`.
    """
    worst = max(_distance(run, model, images) for images in _trials(model, size))
    if not worst <= TOLERANCE:
        raise ValueError(f"the file and its model differ by {worst:.1e}; wanted {TOLERANCE:g} at most")
    return worst


def _trials(model: WholePass, size: tuple[int, int] | None) -> Iterator[Tensor]:
    yield example_images(model, size, count=1)
    yield example_images(model, size, count=3)
    if size is None:  # one that needs no padding, and an upright one that does
        yield example_images(model, (2 * model.divisor, 3 * model.divisor))
        yield example_images(model, (5 * model.divisor + 1, 2 * model.divisor + 1))


def _distance(run: RunFile, model: WholePass, images: Tensor) -> float:
    try:
        found = torch.from_numpy(np.asarray(run(images.numpy())))
    except Exception as error:  # the errors of onnxruntime share no base class
        reason = " ".join(str(error).split())
        raise ValueError(f"the file fails on images {tuple(images.shape)}, which the model takes: {reason}") from error
    with torch.no_grad():
        wanted = model.scores(images)
    scale = max(1.0, float(wanted.abs().max()))
    if model.output_kind == "ids":
        best = wanted.amax(dim=1)
        found, wanted = wanted.gather(1, found[:, None])[:, 0], best
    return float((found - wanted).abs().max()) / scale
