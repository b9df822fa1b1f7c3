"""The sampling of deformable attention: two implementations with equal results.

Every cell of every level reads all levels at points near its own centre, by bilinear interpolation between the four
surrounding cells. Outside a map, the values are zero. Letters: N images, S levels, H_i x W_i the size of level i, L
cells of all levels together, M heads, D channels per head, P points per head and level, T = S * P points per head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Sizes = Sequence[Sequence[int]]

# The number of empty cells around each map in the table of rows. Points outside a map are clamped to this border; with
# two cells, all four cells around a clamped point are empty.
_BORDER = 2


# torch.compile cannot trace a backward pass that calls autograd itself, so its graph would break here in any case.
@torch.compiler.disable
def sample_by_embedding_bag(values: Tensor, offsets: Tensor, weights: Tensor, layout: "LevelLayout") -> Tensor:
    """Compute the weighted sum over the points of each head, with one embedding bag for all levels.

    The values become the rows of a table. A point reads four rows, those of the surrounding cells, so the sum for a
    cell and head is a weighted sum of 4 T rows.

    Args:
        values: The values (N, L, M, D) of all cells.
        offsets: The offsets (N, L, 2, M, T), x before y, of the points from the cell's own centre, in cells of the
            level on which the point lies.
        weights: The weights (N, L, M, T) of the points.
        layout: The layout of the levels.

    Returns:
        The sums (N, L, M * D).
    """
    # The tracer that counts operations does not see inside an autograd function, so `_BagSampling` is used only if
    # gradients are needed.
    sums = _BagSampling.apply if torch.is_grad_enabled() else _weighted_sums
    return sums(values, offsets.float(), weights, layout).flatten(2)


def sample_by_grid(values: Tensor, offsets: Tensor, weights: Tensor, layout: "LevelLayout") -> Tensor:
    """Compute the same sums level by level with `grid_sample`; see `sample_by_embedding_bag`."""
    count, length, heads, depth = values.shape
    maps = values.permute(0, 2, 3, 1).flatten(0, 1)  # (N * M, D, L)
    sizes = layout.sizes
    weights = weights.unflatten(3, (len(sizes), -1)).permute(0, 2, 1, 3, 4).flatten(0, 1)[:, None]
    points = offsets.unflatten(4, (len(sizes), -1)).permute(0, 3, 1, 4, 5, 2).flatten(0, 1)  # (N * M, L, S, P, 2)
    centres = layout.centres[:, :, 0].unflatten(2, (len(sizes), -1))[..., 0].transpose(1, 2)  # (L, S, 2)
    total, start = values.new_zeros(()), 0
    for level, (height, width) in enumerate(sizes):
        scale = torch.tensor([2 / width, 2 / height], device=values.device)
        grid = (points[:, :, level] + centres[:, None, level] + 0.5) * scale - 1
        level_map = maps[:, :, start : start + height * width].unflatten(2, (height, width))
        samples = F.grid_sample(level_map, grid.to(values.dtype), align_corners=False)
        total = total + (samples * weights[:, :, :, level]).sum(dim=-1)
        start += height * width
    return total.view(count, heads * depth, length).transpose(1, 2)


def centres_on_levels(sizes: Sizes, device: torch.device) -> Tensor:
    """Compute where the centre of each cell lies on every level.

    Args:
        sizes: The size (H_i, W_i) of every level.
        device: The device of the result.

    Returns:
        The coordinates (L, S, 2), x before y, in cells of the level, where the centre of the first cell is (0, 0).
    """
    centres = []
    for height, width in sizes:
        y, x = ((torch.arange(side, device=device) + 0.5) / side for side in (height, width))
        centres.append(torch.cartesian_prod(y, x).flip(-1))
    scale = torch.tensor([(width, height) for height, width in sizes], device=device)
    return torch.cat(centres)[:, None] * scale - 0.5


@dataclass(frozen=True)
class LevelLayout:
    """The coordinates of all cells on every level, and their rows in the table of `sample_by_embedding_bag`.

    The table surrounds every level with empty rows, which stand for the zeros outside a map. A layout depends only on
    the sizes of the levels. It takes many small operations to compute, so it is computed once for all layers.

    Attributes:
        sizes: The size (H_i, W_i) of every level.
        cells: The row (L,) of every cell.
        cell_strides: For every cell, the number of rows (L,) from it to the cell below it.
        centres: The coordinates (L, 2, 1, T), x before y, of every cell's centre on the level of each point.
        last: The largest coordinates (2, 1, T), x before y; points further outside are clamped to them.
        strides: The number of rows (T,) from a cell to the one below, on the level of each point.
        starts: The row (T,) of the first cell of the level of each point.
        num_rows: The number of rows of the table for one image and head.
    """

    sizes: Sizes
    cells: Tensor
    cell_strides: Tensor
    centres: Tensor
    last: Tensor
    strides: Tensor
    starts: Tensor
    num_rows: int

    @classmethod
    def of(cls, sizes: Sizes, *, num_points: int, device: torch.device) -> "LevelLayout":
        """Compute the layout of levels.

        Args:
            sizes: The size (H_i, W_i) of every level.
            num_points: The number of points P per head and level.
            device: The device of the maps.
        """
        cells, cell_strides, starts, strides, num_rows = [], [], [], [], 0
        for height, width in sizes:
            # The empty cells to the left of a line of cells are also those to the right of the line above.
            stride = width + _BORDER
            start = num_rows + _BORDER * stride + _BORDER
            y, x = (torch.arange(side, device=device) for side in (height, width))
            cells.append((y[:, None] * stride + x + start).flatten())
            cell_strides.append(torch.full_like(cells[-1], stride))
            starts.append(start)
            strides.append(stride)
            num_rows += (height + 2 * _BORDER) * stride + _BORDER
        last = torch.tensor([(width, height) for height, width in sizes], device=device, dtype=torch.float32)
        points = [torch.tensor(each, device=device).repeat_interleave(num_points) for each in (strides, starts)]
        return cls(
            sizes=sizes,
            cells=torch.cat(cells),
            cell_strides=torch.cat(cell_strides),
            centres=centres_on_levels(sizes, device).transpose(1, 2).repeat_interleave(num_points, dim=2)[:, :, None],
            last=last.T.repeat_interleave(num_points, dim=1)[:, None],
            strides=points[0].int(),
            starts=points[1].int(),
            num_rows=num_rows,
        )


class _BagSampling(torch.autograd.Function):
    """The weighted sums with a custom backward pass, which is faster and saves nothing but the arguments.

    On one level, the rows of the four cells around a point always have the same distances from each other. One sort of
    the points, by their upper left cells, therefore suffices for the gradient of the values, which is then computed by
    embedding bags as well.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, offsets: Tensor, weights: Tensor, layout: LevelLayout) -> Tensor:
        """Compute the sums (N, L, M, D); see `sample_by_embedding_bag` for the arguments."""
        ctx.save_for_backward(values, offsets, weights)
        ctx.layout = layout
        return _weighted_sums(values, offsets, weights, layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Compute the gradients of values, offsets and weights."""
        (values, offsets, weights), layout = ctx.saved_tensors, ctx.layout
        first, within = _places(offsets, layout)
        shares = _shares(within, weights)
        of_values = _gradient_of_values(gradient, first, shares, layout)
        table, rows = _table(values, layout), _rows(first, layout)
        with torch.enable_grad():
            sums = _bag_sums(table, rows, shares.requires_grad_())
        (of_shares,) = torch.autograd.grad(sums, shares, gradient.reshape(sums.shape))
        return of_values, *_gradient_of_places(of_shares, within, weights), None


def _weighted_sums(values: Tensor, offsets: Tensor, weights: Tensor, layout: LevelLayout) -> Tensor:
    """Compute the sums of `_BagSampling.forward`."""
    first, within = _places(offsets, layout)
    return _bag_sums(_table(values, layout), _rows(first, layout), _shares(within, weights)).view(values.shape)


def _places(offsets: Tensor, layout: LevelLayout) -> tuple[Tensor, Tensor]:
    """Find the four cells around every point.

    Args:
        offsets: The offsets (N, L, 2, M, T) of the points.
        layout: The layout of the levels.

    Returns:
        The row (N, L, M, T) int32 of the upper left cell, in the table of N * num_rows * M rows, and the position of
        the point between the four cells (N, L, 2, M, T), x before y, from 0 to 1.
    """
    count, _, _, heads, _ = offsets.shape
    # NaN has no row, so it is replaced. It is not hidden: the weights come from the same queries and are NaN as well.
    places = (offsets + layout.centres).nan_to_num_()
    torch.minimum(places.clamp_(min=-_BORDER), layout.last, out=places)
    low = places.floor()
    within, low = places.sub_(low), low.int()
    image = torch.arange(count, dtype=torch.int32, device=low.device).view(-1, 1, 1, 1) * (layout.num_rows * heads)
    head = torch.arange(heads, dtype=torch.int32, device=low.device).view(-1, 1)
    first = low[:, :, 1].mul_(layout.strides).add_(low[:, :, 0]).mul_(heads)
    return first.add_(image + head + layout.starts * heads), within


def _rows(first: Tensor, layout: LevelLayout) -> Tensor:
    """Return the rows (N, L, M, 4, T) of all four cells: upper left, upper right, lower left, lower right."""
    heads = first.shape[2]
    rows = first.new_empty(*first.shape[:3], 4, first.shape[3])
    below = layout.strides * heads
    for corner, step in enumerate((0, heads, below, below + heads)):
        torch.add(first, torch.as_tensor(step), out=rows[:, :, :, corner])
    return rows


def _shares(within: Tensor, weights: Tensor) -> Tensor:
    """Divide each point's weight bilinearly among the four cells: shares (N, L, M, 4, T) in single precision."""
    x, y = within.unbind(2)
    shares = torch.empty(*weights.shape[:3], 4, weights.shape[3], device=weights.device)
    right = weights * x
    for side, part in enumerate((weights - right, right)):
        torch.mul(part, y, out=shares[:, :, :, side + 2])
        torch.sub(part, shares[:, :, :, side + 2], out=shares[:, :, :, side])
    return shares


def _table(values: Tensor, layout: LevelLayout) -> Tensor:
    """Arrange values (N, L, M, D) as table rows (N * num_rows * M, D), with empty rows around every level."""
    count, _, heads, depth = values.shape
    return values.new_zeros(count, layout.num_rows, heads, depth).index_copy_(1, layout.cells, values).view(-1, depth)


def _bag_sums(table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """Sum the rows of the points of each cell and head, weighted by their shares: (N * L * M, D)."""
    rows, shares = (x.view(-1, rows.shape[-2] * rows.shape[-1]) for x in (rows, shares))
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares.to(table.dtype))


def _gradient_of_values(gradient: Tensor, first: Tensor, shares: Tensor, layout: LevelLayout) -> Tensor:
    """Compute the gradient of the values from that of the sums, (N, L, M, D) each.

    The gradient of a cell is the sum of the gradients of all points that read it, weighted by the shares with which
    they read it.
    """
    count, _, heads, depth = gradient.shape
    gradient = gradient.reshape(-1, depth)
    order = first.flatten().sort().indices
    sizes = torch.bincount(first.flatten(), minlength=count * layout.num_rows * heads)
    starts, bags = sizes.cumsum(0) - sizes, torch.div(order, first.shape[-1], rounding_mode="floor")
    total = gradient.new_zeros(())
    for corner, (down, right) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        own = shares[:, :, :, corner].reshape(-1).take(order).to(gradient.dtype)
        sums = F.embedding_bag(bags, gradient, starts, mode="sum", per_sample_weights=own)
        # A cell is the lower (right) cell of the points whose upper left cell is the one above it (to its left).
        cells = layout.cells - down * layout.cell_strides - right
        total = total + sums.view(count, layout.num_rows, heads, depth).index_select(1, cells)
    return total


def _gradient_of_places(gradient: Tensor, within: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradients of offsets and weights from those of the shares (N, L, M, 4, T)."""
    x, y = within.unbind(2)
    upper_left, upper_right, lower_left, lower_right = gradient.unbind(3)
    upper_slope, lower_slope = upper_right - upper_left, lower_right - lower_left
    upper, lower = torch.addcmul(upper_left, x, upper_slope), torch.addcmul(lower_left, x, lower_slope)
    down = lower - upper
    offsets = torch.empty_like(within)
    torch.mul(weights, torch.addcmul(upper_slope, y, lower_slope - upper_slope), out=offsets[:, :, 0])
    torch.mul(weights, down, out=offsets[:, :, 1])
    return offsets, torch.addcmul(upper, y, down)
