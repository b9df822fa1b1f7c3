"""Blocks of a plain ViT that attend within windows, which makes large images affordable.

Paper: Li et al.: ViTDet (2022, arXiv 2203.16527), section 3. Two things differ from ViTDet. If the window does not
divide the map, the map is padded, but nothing attends to the padding; a window that covers the map therefore gives the
same result as no windows. The class token and registers are kept: each window gets a copy of them, and the block
returns the mean of the copies.
"""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import window_partition, window_reverse
from timm.models.vision_transformer import Block
from torch import Tensor, nn


class WindowedBlock(nn.Module):
    """A block of timm's VisionTransformer whose tokens attend only to tokens of their own window."""

    def __init__(self, block: Block, window_size: int) -> None:
        """
        Args:
            block: The timm block whose layers this block uses under the same names. Its attention must be timm's plain
                `Attention`.
            window_size: The side length of the square windows, in patches.
        """
        super().__init__()
        self.norm1, self.attn, self.ls1, self.drop_path1 = block.norm1, block.attn, block.ls1, block.drop_path1
        self.norm2, self.mlp, self.ls2, self.drop_path2 = block.norm2, block.mlp, block.ls2, block.drop_path2
        self.window_size = window_size

    def forward(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """
        Args:
            tokens: The tokens (N, T, C), the last H * W of which are the patches, row by row.
            grid: The grid (H, W) of the patches. Without it the tokens are returned unchanged, so that timm's own code,
                which passes no grid, can compute the tokens before the first block.

        Returns:
            The new tokens, of the same shape.
        """
        if grid is None:
            return tokens
        tokens = tokens + self.drop_path1(self.ls1(self._attend(self.norm1(tokens), grid)))
        return tokens + self.drop_path2(self.ls2(self.mlp(self.norm2(tokens))))

    def _attend(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        height, width = grid
        window = (min(self.window_size, height), min(self.window_size, width))
        prefix, patches = tokens.tensor_split([tokens.shape[1] - height * width], dim=1)
        padding = (0, 0, 0, -width % window[1], 0, -height % window[0])
        padded = F.pad(patches.unflatten(1, grid), padding)
        cells = window_partition(padded, window).flatten(1, 2)
        count = cells.shape[0] // tokens.shape[0]  # windows per image
        mask = None
        if any(padding):
            inside = F.pad(patches.new_ones(1, *grid, 1), padding)
            outside = window_partition(inside, window).flatten(1) == 0
            mask = patches.new_zeros(outside.shape).masked_fill_(outside, float("-inf"))
            mask = F.pad(mask, (prefix.shape[1], 0)).repeat(tokens.shape[0], 1)[:, None, None]
        mixed = self.attn(torch.cat([prefix.repeat_interleave(count, 0), cells], dim=1), attn_mask=mask)
        prefix, cells = mixed.tensor_split([prefix.shape[1]], dim=1)
        whole = window_reverse(cells.unflatten(1, window), window, *padded.shape[1:3])[:, :height, :width]
        return torch.cat([prefix.unflatten(0, (-1, count)).mean(dim=1), whole.flatten(1, 2)], dim=1)
