"""Counts of the whole optimiser step, by which the sums of the losses are divided; see `contracts`."""

from collections.abc import Mapping

import torch
from detectron2.utils import comm
from torch import Tensor

from ..contracts import Counts

# Replaces a count of zero as the divisor; the sum is then zero as well, so the quotient is zero and not NaN.
_TINY = 1e-6


def divide(total: Tensor, count: Tensor) -> Tensor:
    """Divide a sum by its count. The result is 0, still with a gradient, if the count is 0."""
    return total / count.clamp(min=_TINY)


def mean_over_processes(counts: Mapping[str, Counts]) -> dict[str, dict[str, Tensor]]:
    """Average each count over all processes, with a single all-reduce.

    DistributedDataParallel averages gradients over processes. If each process divides its sum by the mean count, this
    average is the gradient of the total sum divided by the total count, however uneven the processes' counts are.

    Args:
        counts: The counts of this process, by part and name. The names must be the same in every process.
    """
    names = [(part, name) for part, own in counts.items() for name in own]
    if not names:
        return {part: {} for part in counts}
    values = torch.stack([counts[part][name].float() for part, name in names])
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(values)
        values = values / comm.get_world_size()
    means: dict[str, dict[str, Tensor]] = {part: {} for part in counts}
    for (part, name), value in zip(names, values.unbind(), strict=True):
        means[part][name] = value
    return means
