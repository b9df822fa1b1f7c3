"""Reading maps of several levels at points between their cells, in two ways with equal results.

Every cell of every level asks at points near its own centre. A point outside a map reads zeros. Letters: N images, S
levels, H_i x W_i the size of level i, L cells of all levels, M heads, D channels of a head, P points of a head on a
level, T = S * P points of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

Sizes = Sequence[tuple[int, int]]

# Empty cells on each side of a map in the table of rows: a point that far outside lies between two of them.
_BORDER = 2


def sample_by_embedding_bag(values: Tensor, offsets: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """Weighted sums over the points of each head, as sums of rows of a table: each point is four cells.

    Args:
        values: (N, L, M, D).
        offsets: (N, L, 2, M, T) of x and y, from the cell's own centre, in cells of the level they point at.
        weights: (N, L, M, T).
        sizes: (H_i, W_i) of every level.

    Returns:
        (N, L, M * D).
    """
    count, length, heads, depth = values.shape
    layout = _Layout.of(sizes, num_points=weights.shape[-1] // len(sizes), device=values.device)
    table = values.new_zeros(count, layout.num_rows, heads, depth).index_copy(1, layout.cells, values)
    rows, shares = _Corners.apply(offsets, weights, layout)
    bags = (count * length * heads, -1)
    sums = F.embedding_bag(
        rows.view(bags), table.view(-1, depth), mode="sum", per_sample_weights=shares.view(bags).to(table.dtype)
    )
    return sums.view(count, length, heads * depth)


def sample_by_grid(values: Tensor, offsets: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
    """The same level by level; arguments and result as in `sample_by_embedding_bag`."""
    count, length, heads, depth = values.shape
    maps = values.permute(0, 2, 3, 1).flatten(0, 1)  # (N * M, D, L)
    weights = weights.unflatten(3, (len(sizes), -1)).permute(0, 2, 1, 3, 4).flatten(0, 1)[:, None]
    points = offsets.unflatten(4, (len(sizes), -1)).permute(0, 3, 1, 4, 5, 2).flatten(0, 1)  # (N * M, L, S, P, 2)
    centres, total, start = cell_centres(sizes, values.device), 0, 0
    for level, (height, width) in enumerate(sizes):
        scale = torch.tensor([2 / width, 2 / height], device=values.device)
        grid = (points[:, :, level] + centres[:, None, level] + 0.5) * scale - 1
        level_map = maps[:, :, start : start + height * width].unflatten(2, (height, width))
        samples = F.grid_sample(level_map, grid.to(values.dtype), align_corners=False)
        total = total + (samples * weights[:, :, :, level]).sum(dim=-1)
        start += height * width
    return total.view(count, heads * depth, length).transpose(1, 2)


def cell_centres(sizes: Sizes, device: torch.device) -> Tensor:
    """Where the centre of every cell of all levels lies on every level.

    Args:
        sizes: (H_i, W_i) of every level.
        device: The device of the result.

    Returns:
        (L, S, 2) of x and y in cells of the level, whose first centre is (0, 0).
    """
    centres = []
    for height, width in sizes:
        y, x = ((torch.arange(side, device=device) + 0.5) / side for side in (height, width))
        centres.append(torch.cartesian_prod(y, x).flip(-1))
    scale = torch.tensor([(width, height) for height, width in sizes], device=device)
    return torch.cat(centres)[:, None] * scale - 0.5


@dataclass(frozen=True)
class _Layout:
    """Where cells lie in a table of rows, which has empty ones around every level.

    cells: (L,) row of every cell.
    centres: (L, 2, 1, T) of x and y, of every cell on the level of each point.
    last: (2, 1, T), the largest x and y that are told apart from further ones.
    strides: (T,) rows from a cell to the one below it.
    starts: (T,) row of the place (0, 0).
    num_rows: of the table.
    """

    cells: Tensor
    centres: Tensor
    last: Tensor
    strides: Tensor
    starts: Tensor
    num_rows: int

    @classmethod
    def of(cls, sizes: Sizes, *, num_points: int, device: torch.device) -> "_Layout":
        cells, starts, strides, num_rows = [], [], [], 0
        for height, width in sizes:
            # The cells left of a row are those right of the one above.
            stride = width + _BORDER
            start = num_rows + _BORDER * stride + _BORDER
            y, x = (torch.arange(side, device=device) for side in (height, width))
            cells.append((y[:, None] * stride + x + start).flatten())
            starts.append(start)
            strides.append(stride)
            num_rows += (height + 2 * _BORDER) * stride + _BORDER
        last = torch.tensor([(width, height) for height, width in sizes], device=device, dtype=torch.float32)
        points = [torch.tensor(each, device=device).repeat_interleave(num_points) for each in (strides, starts)]
        return cls(
            cells=torch.cat(cells),
            centres=cell_centres(sizes, device).transpose(1, 2).repeat_interleave(num_points, dim=2)[:, :, None],
            last=last.T.repeat_interleave(num_points, dim=1)[:, None],
            strides=points[0].int(),
            starts=points[1].int(),
            num_rows=num_rows,
        )


class _Corners(torch.autograd.Function):
    """The four cells around every point, and the shares of its weight that they get.

    As a function with a backward pass of its own, which needs no more than places within a cell and weights.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, offsets: Tensor, weights: Tensor, layout: _Layout) -> tuple[Tensor, Tensor]:
        """
        Args:
            ctx: What is kept for the backward pass.
            offsets: (N, L, 2, M, T).
            weights: (N, L, M, T).
            layout: Where cells lie.

        Returns:
            Rows (N, L, M, 4, T) of int32 in a table (N * num_rows * M), and shares of the same shape.
        """
        count, length, heads, points = weights.shape
        places = torch.add(offsets.float(), layout.centres)
        torch.minimum(places.clamp_(min=-_BORDER), layout.last, out=places)
        low = places.floor()
        within = places.sub_(low)
        device = weights.device
        rows = torch.empty(count, length, heads, 4, points, dtype=torch.int32, device=device)
        image = torch.arange(count, dtype=torch.int32, device=device).view(-1, 1, 1, 1) * (layout.num_rows * heads)
        head = torch.arange(heads, dtype=torch.int32, device=device).view(-1, 1)
        low = low.int()
        first = low[:, :, 1].mul_(layout.strides).add_(low[:, :, 0]).mul_(heads)
        first += image + head + layout.starts * heads
        below = layout.strides * heads
        for place, step in enumerate((0, heads, below, below + heads)):
            torch.add(first, step, out=rows[:, :, :, place])
        x, y = within.unbind(2)
        shares = torch.empty(rows.shape, device=device)
        right = weights.float() * x
        left = weights - right
        for place, part in enumerate((left, right)):
            torch.mul(part, y, out=shares[:, :, :, place + 2])
            torch.sub(part, shares[:, :, :, place + 2], out=shares[:, :, :, place])
        ctx.save_for_backward(within, weights)
        ctx.mark_non_differentiable(rows)
        return rows, shares

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, _: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradients of offsets and weights, from that of the shares."""
        within, weights = ctx.saved_tensors
        x, y = within.unbind(2)
        upper_left, upper_right, lower_left, lower_right = gradient.unbind(3)
        upper_slope, lower_slope = upper_right - upper_left, lower_right - lower_left
        upper, lower = torch.addcmul(upper_left, x, upper_slope), torch.addcmul(lower_left, x, lower_slope)
        down = lower - upper
        offsets = torch.empty_like(within)
        torch.mul(weights, torch.addcmul(upper_slope, y, lower_slope - upper_slope), out=offsets[:, :, 0])
        torch.mul(weights, down, out=offsets[:, :, 1])
        return offsets, torch.addcmul(upper, y, down), None
