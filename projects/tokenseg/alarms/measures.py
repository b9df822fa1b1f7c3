"""Measures that distinguish collapsed tokens from slow learning. They need no labels, and most are from 0 to 1.

Letters: N images, Q tokens, D values of a token (its channels, or the cells of its map), L positions.
"""

import torch
from torch import Tensor

# A token counts as equal in all images if it deviates from its mean over the images by less than a hundredth of its
# length; this is the square of that share.
_SAME = 1e-4
_TINY = 1e-12  # a variance below this is zero up to rounding


def variance_shares(tokens: Tensor) -> dict[str, float]:
    """Decompose the variance of tokens by an analysis of variance over images and tokens, summed over channels.

    If the tokens form a grid, `token` is the share of the position. The interaction `image_x_token`, which remains
    after both, is what a token says about *this* image that the other tokens do not say. A head without it gives the
    same tokens for every image, or the same everywhere in an image.

    Args:
        tokens: The tokens (N, Q, D) of two images or more.

    Returns:
        The shares `image`, `token` and `image_x_token`, which sum to 1; all are 0 if nothing varies.
    """
    tokens = tokens.double()
    mean = tokens.mean(dim=(0, 1), keepdim=True)
    image, token = tokens.mean(dim=1, keepdim=True) - mean, tokens.mean(dim=0, keepdim=True) - mean
    rest = tokens - mean - image - token
    parts = {
        name: part.square().sum(dim=2).mean().item()
        for name, part in (("image", image), ("token", token), ("image_x_token", rest))
    }
    total = sum(parts.values())
    return {name: part / total if total > _TINY else 0.0 for name, part in parts.items()}


def mean_cosine(tokens: Tensor) -> float:
    """Compute the mean cosine between two tokens of an image, over all pairs and images; 1 if all tokens are parallel.

    Args:
        tokens: The tokens (N, Q, D). For a single token, which has no partner, the result is 0.
    """
    count = tokens.shape[1]
    if count < 2:
        return 0.0
    directions = torch.nn.functional.normalize(tokens.double(), dim=2)
    squares = directions.square().sum(dim=(1, 2))
    pairs = directions.sum(dim=1).square().sum(dim=1) - squares  # the square of a sum contains every pair twice
    return (pairs / (count * (count - 1))).mean().item()


def dead_tokens(tokens: Tensor) -> float:
    """Compute the share of tokens that are the same vector in every image, and so do not depend on the image.

    Args:
        tokens: The tokens (N, Q, D) of two images or more.
    """
    tokens = tokens.double()
    deviation = (tokens - tokens.mean(dim=0)).square().sum(dim=2).mean(dim=0)
    return (deviation <= _SAME * tokens.square().sum(dim=2).mean(dim=0)).double().mean().item()


def region_masses(weights: Tensor) -> dict[str, float]:
    """Measure how much of the images the regions of tokens cover.

    Args:
        weights: The weights (N, Q, h, w) of the cells in each region, 0 or more.

    Returns:
        `mass`, the mean weight of a cell in a region, and `dead_regions`, the share of regions that cover less than one
        cell in all images together.
    """
    masses = weights.double().sum(dim=(0, 2, 3))
    return {"mass": weights.double().mean().item(), "dead_regions": (masses < 1).double().mean().item()}


def attention_entropy(weights: Tensor, allowed: Tensor | None = None) -> float:
    """Compute the mean entropy of attention, divided by its maximum.

    Args:
        weights: The attention weights (N, heads, Q, L), whose rows sum to 1.
        allowed: The positions to which each token may attend, (N, Q, L) bool; all by default. Tokens with a single
            allowed position are not counted.

    Returns:
        0 if every token attends to a single position, 1 if every token attends to all positions equally.
    """
    entropy = torch.special.entr(weights.double()).sum(dim=3)
    if allowed is None:
        numbers = torch.full_like(entropy, weights.shape[3])
    else:
        numbers = allowed.sum(dim=2)[:, None].expand_as(entropy).double()
    chosen = numbers > 1
    return (entropy[chosen] / numbers[chosen].log()).mean().item() if chosen.any() else 0.0
