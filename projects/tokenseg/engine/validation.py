"""The loss on images that the model is not trained on."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..config.instantiate import instantiate
from ..contracts import CountsSteps
from ..d2_compat import undistributed
from .devices import resolve_device
from .precision import amp_dtype, autocast


class ValidationLoss:
    """Computes the losses of a model on a fixed set of samples, in the same way as a training step.

    The model runs in training mode, except that dropout, stochastic depth and batch norms run as in inference.
    """

    def __init__(self, *, batches: Iterable[list[dict]], steps: int, amp_dtype: torch.dtype | None = None) -> None:
        """
        Args:
            batches: The batches of this process, with labels. Every iteration over them yields the same samples.
            steps: The number of batches to use.
            amp_dtype: The data type of mixed precision, or None for full precision.
        """
        self._batches, self._steps, self._amp_dtype = batches, steps, amp_dtype

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return every loss and their sum, `total_loss`, as means over the steps; the same in all processes."""
        whole = undistributed(model)
        sums: dict[str, float] = defaultdict(float)
        with torch.no_grad(), returning_losses(whole), autocast(next(whole.parameters()).device, self._amp_dtype):
            for batch in itertools.islice(self._batches, self._steps):
                losses = whole(batch, whole.count(batch)) if isinstance(whole, CountsSteps) else whole(batch)
                for name, loss in (losses | {"total_loss": sum(losses.values())}).items():
                    sums[name] += float(loss)
        processes = comm.all_gather(dict(sums))
        return {name: sum(each[name] for each in processes) / len(processes) / self._steps for name in sums}


@contextmanager
def returning_losses(model: nn.Module) -> Iterator[None]:
    """Inside the block a model returns losses, while its layers (modules without children) run as in inference."""
    before = {module: module.training for module in model.modules()}
    for module in before:
        module.training = any(True for _ in module.children())
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def build_validation(config: DictConfig) -> ValidationLoss | None:
    """Build the loss on images of the test set, which are prepared and augmented like training images.

    Returns:
        The loss, or None if `train.validation_images` is 0.

    Raises:
        ValueError: `train.validation_images` is not a multiple of the batch size.
    """
    images, batch_size = config.train.get("validation_images", 0), config.dataloader.train.total_batch_size
    if not images:
        return None
    if images % batch_size:
        raise ValueError(
            f"train.validation_images is {images}; wanted a multiple of dataloader.train.total_batch_size, "
            f"{batch_size}, or 0"
        )
    loader = config.dataloader.train.copy()
    loader.dataset = config.dataloader.test.dataset
    return ValidationLoss(
        batches=instantiate(loader),
        steps=images // batch_size,
        amp_dtype=amp_dtype(config.train.amp, resolve_device(config.train.device)),
    )
