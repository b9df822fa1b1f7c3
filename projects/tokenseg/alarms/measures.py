"""What tells collapsed tokens from slow learning: numbers from 0 to 1 that need no labels.

Letters: N images, Q tokens, D numbers of a token (its channels, or the cells of its map), L positions.
"""

import torch
from torch import Tensor

# A token that deviates from its mean over the images by less than a hundredth of its length is the same in all.
_SAME = 1e-4
_TINY = 1e-12


def variance_shares(tokens: Tensor) -> dict[str, float]:
    """Of what the variance of tokens consists: an analysis of variance over images and tokens, summed over channels.

    Where the tokens lie on a grid, `token` is the share of position. What is left after both, `image_x_token`, is the
    part by which a token tells something of *this* image that the other tokens do not tell: a head that has none of it
    says the same of every image, or the same everywhere in it.

    Args:
        tokens: (N, Q, D), of two images or more.

    Returns:
        The shares `image`, `token` and `image_x_token`, which sum to 1; all are 0 where nothing varies.
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
    """The mean cosine between the tokens of an image, over all pairs and images: 1 where all point one way.

    Args:
        tokens: (N, Q, D); one token has no partner, and gives 0.
    """
    count = tokens.shape[1]
    if count < 2:
        return 0.0
    directions = torch.nn.functional.normalize(tokens.double(), dim=2)
    squares = directions.square().sum(dim=(1, 2))
    pairs = directions.sum(dim=1).square().sum(dim=1) - squares  # the square of a sum holds every pair twice
    return (pairs / (count * (count - 1))).mean().item()


def dead_tokens(tokens: Tensor) -> float:
    """The share of tokens that are the same vector in every image: they have stopped to look.

    Args:
        tokens: (N, Q, D), of two images or more.
    """
    tokens = tokens.double()
    deviation = (tokens - tokens.mean(dim=0)).square().sum(dim=2).mean(dim=0)
    return (deviation <= _SAME * tokens.square().sum(dim=2).mean(dim=0)).double().mean().item()


def region_masses(weights: Tensor) -> dict[str, float]:
    """How much of the image the regions of tokens hold.

    Args:
        weights: (N, Q, h, w) of 0 or more.

    Returns:
        `mass`, the mean weight of a cell in a region, and `dead_regions`, the share of regions that hold less than one
        cell in all images together.
    """
    masses = weights.double().sum(dim=(0, 2, 3))
    return {"mass": weights.double().mean().item(), "dead_regions": (masses < 1).double().mean().item()}


def attention_entropy(weights: Tensor, allowed: Tensor | None = None) -> float:
    """The mean entropy of attention over its largest value: 0 where a token sees one position, 1 where all alike.

    Args:
        weights: (N, heads, Q, L), each row of sum 1.
        allowed: (N, Q, L) bool, the positions that a token may attend to; all by default. Tokens that may attend to
            one position alone do not count.
    """
    entropy = torch.special.entr(weights.double()).sum(dim=3)
    if allowed is None:
        numbers = torch.full_like(entropy, weights.shape[3])
    else:
        numbers = allowed.sum(dim=2)[:, None].expand_as(entropy).double()
    chosen = numbers > 1
    return (entropy[chosen] / numbers[chosen].log()).mean().item() if chosen.any() else 0.0
