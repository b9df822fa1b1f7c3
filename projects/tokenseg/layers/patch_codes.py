"""Fixed position codes of patches."""

from timm.layers import build_sincos2d_pos_embed
from torch import Tensor


def sine_codes(grid: tuple[int, int], channels: int) -> Tensor:
    """Compute two-dimensional sine and cosine codes for plain vision transformers.

    Args:
        grid: The numbers of rows and columns of patches, (H, W).
        channels: The number of channels of a code.

    Returns:
        The codes (H * W, channels) in row-major order.
    """
    return build_sincos2d_pos_embed(list(grid), channels, interleave_sin_cos=True)
