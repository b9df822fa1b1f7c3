"""Swin's shifted windows with padding before the shift, as in Swin's official code; timm pads after the shift.

A map whose sides are not multiples of the window is padded with zeros at the bottom and on the right. A shifted block
also rolls the map by half a window, which moves the first rows and columns to the end; a mask keeps them from attending
to their new neighbours. timm rolls the map before it pads, so the zeros end up behind the rows and columns that were
moved. Its mask assumes that the moved rows and columns are the last ones, so it separates the wrong ones: the top and
bottom edges of the image attend to each other, and so do the left and right edges, unless the padding happens to be as
wide as the shift.
"""

from typing import Any, Literal, get_args

import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, window_partition, window_reverse
from timm.models.swin_transformer_v2 import SwinTransformerV2, SwinTransformerV2Block
from torch import Tensor, nn

WindowPadding = Literal["before_shift", "after_shift"]

_PARTS = {"norm1", "attn", "drop_path1", "norm2", "mlp", "drop_path2"}
# Swin's official code adds this to the attention logits of two cells that must not attend to each other.
_APART = -100.0


def arrange_window_padding(model: nn.Module, padding: WindowPadding | None) -> WindowPadding | None:
    """Make the shifted blocks of timm's Swin or Swin V2 pad before or after they shift.

    Args:
        model: The timm model, which is modified in place. The names and values of its weights are kept.
        padding: The order. None means `before_shift` for a Swin or Swin V2, and nothing for any other model.

    Returns:
        The order in use, or None if the model has no shifted windows.

    Raises:
        ValueError: The order is unknown, or the model has no shifted windows and an order is given.
        RuntimeError: The blocks of the installed timm version do not have the layers that this module knows.
    """
    if padding is not None and padding not in get_args(WindowPadding):
        raise ValueError(f"window_padding is {padding!r}; wanted one of {', '.join(get_args(WindowPadding))}, or None")
    windowed = isinstance(model, SwinTransformer | SwinTransformerV2)
    if padding is not None and not windowed:
        raise ValueError(
            f"window_padding is '{padding}', but {type(model).__name__} has no shifted windows; wanted a Swin or a "
            "Swin V2, or window_padding=None"
        )
    if not windowed or padding == "after_shift":
        return padding
    stages: Any = model.get_submodule("layers")
    for stage in stages:
        for place, block in enumerate(stage.blocks):
            # Without a shift, both orders are the same, so timm's own block is kept.
            if any(block.shift_size):
                stage.blocks[place] = PadBeforeShift(block)
    return "before_shift"


class PadBeforeShift(nn.Module):
    """A shifted block of Swin (Liu et al. 2021, section 3.2) or Swin V2 that pads its map before it shifts it."""

    def __init__(self, block: SwinTransformerBlock | SwinTransformerV2Block) -> None:
        """
        Args:
            block: The timm block whose layers this block uses.

        Raises:
            RuntimeError: The block is of another kind, has other layers than expected, or has weights outside of its
                layers.
        """
        super().__init__()
        found = {name for name, _ in block.named_children()}
        own = [name for name, _ in block.named_parameters(recurse=False)]
        if not isinstance(block, SwinTransformerBlock | SwinTransformerV2Block) or found != _PARTS or own:
            parts = ", ".join(sorted(found) + own) or "nothing"
            raise RuntimeError(
                f"{type(block).__name__} of timm {timm.__version__} consists of {parts}; wanted a block of Swin with "
                f"{', '.join(sorted(_PARTS))}: this version of timm only allows window_padding='after_shift'"
            )
        self.norm1, self.attn, self.drop_path1 = block.norm1, block.attn, block.drop_path1
        self.norm2, self.mlp, self.drop_path2 = block.norm2, block.mlp, block.drop_path2
        self.window_size, self.shift_size = block.window_size, block.shift_size
        # Swin V2 normalises the output of each branch, and Swin its input.
        self.norm_last = isinstance(block, SwinTransformerV2Block)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: The features (N, H, W, C), of any height and width.

        Returns:
            The new features, of the same shape.
        """
        if self.norm_last:
            x = x + self.drop_path1(self.norm1(self._attend(x)))
            return x + self.drop_path2(self.norm2(self.mlp(x)))
        x = x + self.drop_path1(self._attend(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        """Attend within shifted windows, from features (N, H, W, C) to the same shape."""
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0]))
        padded = x.shape[1:3]
        x = x.roll((-self.shift_size[0], -self.shift_size[1]), dims=(1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)
        windows = self.attn(windows, mask=self._seam_mask(x))
        x = window_reverse(windows.unflatten(1, self.window_size), self.window_size, *padded)
        return x.roll(self.shift_size, dims=(1, 2))[:, :height, :width]

    def _seam_mask(self, x: Tensor) -> Tensor:
        """Compute the attention mask of a rolled map, which is added to the logits: (windows per image, cells, cells).

        Cells that were moved to the end must not attend to the cells that are next to them by accident.
        """
        height, width = x.shape[1:3]
        rows = torch.arange(height, device=x.device) >= height - self.shift_size[0]
        columns = torch.arange(width, device=x.device) >= width - self.shift_size[1]
        moved = (2 * rows[:, None] + columns)[None, :, :, None]
        sides = window_partition(moved, self.window_size).flatten(1)
        apart = sides[:, :, None] != sides[:, None, :]
        return x.new_zeros(apart.shape).masked_fill_(apart, _APART)
