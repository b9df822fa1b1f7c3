"""Comparison of the outputs of an exported file with those of its model."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .exported_files import RunFile
from .tracing import example_images
from .whole_pass import WholePass

# The largest accepted difference of scores; onnxruntime sums in another order than torch.
TOLERANCE = 1e-4


def verify(run: RunFile, model: WholePass, *, size: tuple[int, int] | None) -> float:
    """Compare an exported file with its model on random batches of several lengths and, if it accepts them, sizes.

    Args:
        run: The function that runs the file.
        model: The model, on the CPU.
        size: The size (height, width) of the images that the file accepts; None for any size.

    Returns:
        The largest absolute difference of the scores, divided by the largest score if that is above 1. If the file
        outputs ids, the difference is between the model's best score and its score of the class that the file chose,
        so that a tie between two classes is no error.

    Raises:
        ValueError: The file fails, or the difference is greater than `TOLERANCE`.
    """
    worst = max(_distance(run, model, images) for images in _trials(model, size))
    if not worst <= TOLERANCE:
        raise ValueError(f"the file and its model differ by {worst:.1e}; wanted at most {TOLERANCE:g}")
    return worst


def _trials(model: WholePass, size: tuple[int, int] | None) -> Iterator[Tensor]:
    yield example_images(model, size, count=1)
    yield example_images(model, size, count=3)
    if size is None:  # a size that needs no padding, and an upright one that does
        yield example_images(model, (2 * model.divisor, 3 * model.divisor))
        yield example_images(model, (5 * model.divisor + 1, 2 * model.divisor + 1))


def _distance(run: RunFile, model: WholePass, images: Tensor) -> float:
    try:
        found = torch.from_numpy(np.asarray(run(images.numpy())))
    except Exception as error:  # onnxruntime's errors have no common base class
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the file fails on images {tuple(images.shape)}, which the model accepts: {reason}"
        ) from error
    with torch.no_grad():
        wanted = model.scores(images)
    scale = max(1.0, float(wanted.abs().max()))
    if model.output_kind == "ids":
        best = wanted.amax(dim=1)
        found, wanted = wanted.gather(1, found[:, None])[:, 0], best
    return float((found - wanted).abs().max()) / scale
