"""Counts of the whole step, which sums of losses are divided by; see `contracts`."""

from collections.abc import Mapping

import torch
from detectron2.utils import comm
from torch import Tensor

from ..contracts import Counts

# Divides in place of a count of zero, where the sum is zero too.
_TINY = 1e-6


def divide(total: Tensor, count: Tensor) -> Tensor:
    """A sum over what was counted, divided by the count; 0, with gradients, where nothing was counted."""
    return total / count.clamp(min=_TINY)


def mean_over_processes(counts: Mapping[str, Counts]) -> dict[str, dict[str, Tensor]]:
    """The mean of each count over all processes, by one reduction.

    DistributedDataParallel averages gradients over processes. With each process's sum divided by the mean count, that
    average is the gradient of the whole sum over the whole count, however unevenly the processes' shares are spread.

    Args:
        counts: The counts of this process by part and name; every process has the same names.
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
