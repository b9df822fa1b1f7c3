"""Fixed codes of the places of patches."""

from timm.layers import build_sincos2d_pos_embed
from torch import Tensor


def sine_codes(grid: tuple[int, int], channels: int) -> Tensor:
    """Two-dimensional sines and cosines, as plain vision transformers take them.

    Args:
        grid: The numbers of rows and columns of patches, H and W.
        channels: The length of a code.

    Returns:
        The codes (H * W, channels), row by row.
    """
    return build_sincos2d_pos_embed(list(grid), channels, interleave_sin_cos=True)
