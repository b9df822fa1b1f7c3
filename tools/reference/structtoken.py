"""A plain implementation of StructToken's equations: NCHW throughout, no merged layers.

Paper: StructToken: Rethinking Semantic Segmentation with Structural Prior (IEEE TCSVT 2023), section III. Letters: N
images, K classes, C channels, H x W the size of the map. A slice is one channel. There is no stochastic depth.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .weights import Weights

VARIANTS = ("cse", "sse", "pwe")


def layer_norm(x: Tensor, w: Weights, eps: float) -> Tensor:
    """Normalise the channels of every pixel: flatten, transpose, make contiguous, normalise, and reverse this."""
    n, c, height, width = x.shape
    x = x.flatten(2).transpose(1, 2).contiguous()
    x = F.layer_norm(x, (c,), w["weight"], w["bias"], eps)
    return x.transpose(1, 2).reshape(n, c, height, width).contiguous()


def conv(x: Tensor, w: Weights) -> Tensor:
    """Convolve without changing the size; the number of groups follows from the shape of the weight."""
    weight = w["weight"]
    return F.conv2d(x, weight, w["bias"], padding=weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])


def mapping(x: Tensor, w: Weights) -> Tensor:
    """Eq. 3: 1x1, depth-wise 3x3 and 1x1 convolution."""
    x = F.gelu(layer_norm(conv(x, w / 0), w / 1, 1e-6))
    x = F.gelu(layer_norm(conv(x, w / 3), w / 4, 1e-6))
    return layer_norm(conv(x, w / 6), w / 7, 1e-6)


def attention(query: Tensor, key: Tensor, value: Tensor, divisor: float | None) -> Tensor:
    """Eqs. 2 and 6. Without `divisor`, the scale is that of the released model, the root of the vectors' length."""
    q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)  # (N, slices, HW)
    similarity = torch.matmul(q, k.transpose(1, 2)) / (divisor or q.shape[2] ** 0.5)
    return torch.matmul(similarity.softmax(dim=2), v).reshape(query.shape)


def feed_forward(x: Tensor, w: Weights) -> Tensor:
    """Section III-C. There is a grouped convolution if it has weights."""
    layers = w / "layers"
    y = F.gelu(layer_norm(conv(x, layers / 0), layers / 1, 1e-5))
    if "7." in layers:
        y = F.gelu(layer_norm(conv(y, layers / 3), layers / 4, 1e-5))
        y = layer_norm(conv(y, layers / 6), layers / 7, 1e-5)
    else:
        y = layer_norm(conv(y, layers / 3), layers / 4, 1e-5)
    return F.gelu(x + y)


def conv_block(x: Tensor, w: Weights) -> Tensor:
    """Section III-A: pre-activation residual block."""
    layers = w / "layers"
    y = conv(F.gelu(layer_norm(x, layers / 0, 1e-6)), layers / 2)
    y = conv(F.gelu(layer_norm(y, layers / 3, 1e-6)), layers / 5)
    return x + y


def cross_slice_block(tokens: Tensor, features: Tensor, w: Weights, divisor: float | None) -> tuple[Tensor, Tensor]:
    """Eqs. 1 and 2, and a feed-forward network for the tokens and, if it has weights, one for the features."""
    part = w / "extraction"
    query = mapping(tokens, part / "map_query")
    key, value = mapping(features, part / "map_key"), mapping(features, part / "map_value")
    tokens = tokens + mapping(attention(query, key, value, divisor), part / "map_out")
    tokens = feed_forward(tokens, w / "token_ffn")
    if "feature_ffn" in w:
        features = feed_forward(features, w / "feature_ffn")
    return tokens, features


def joint_feed_forward(slices: Tensor, num_classes: int, w: Weights) -> tuple[Tensor, Tensor]:
    """Eq. 7 and the feed-forward networks.

    The released model has one network for all slices. As printed, there is one for the tokens and, if it has weights,
    one for the features.
    """
    if "token_ffn." not in w:
        slices = feed_forward(slices, w)
        return slices[:, :num_classes], slices[:, num_classes:]
    tokens, features = slices[:, :num_classes], slices[:, num_classes:]
    features = feed_forward(features, w / "feature_ffn") if "feature_ffn." in w else features
    return feed_forward(tokens, w / "token_ffn"), features


def self_slice_block(tokens: Tensor, features: Tensor, w: Weights, divisor: float | None) -> tuple[Tensor, Tensor]:
    """Eqs. 4 to 7, and the feed-forward networks."""
    part = w / "extraction"
    slices = torch.cat([tokens, features], dim=1)
    query, key, value = (mapping(slices, part / f"map_{name}") for name in ("query", "key", "value"))
    slices = slices + mapping(attention(query, key, value, divisor), part / "map_out")
    return joint_feed_forward(slices, tokens.shape[1], w / "feed_forward")


def point_wise_block(tokens: Tensor, features: Tensor, w: Weights, divisor: float | None) -> tuple[Tensor, Tensor]:
    """Eqs. 4, 8, 9 and 7, and the feed-forward networks."""
    part = w / "extraction"
    slices = torch.cat([tokens, features], dim=1)
    mixed = conv(mapping(slices, part / "map_in"), part / "mix")
    slices = slices + mapping(mixed, part / "map_out")
    return joint_feed_forward(slices, tokens.shape[1], w / "feed_forward")


BLOCKS = dict(zip(VARIANTS, (cross_slice_block, self_slice_block, point_wise_block), strict=True))


def resized_tokens(tokens: Tensor, height: int, width: int) -> Tensor:
    """Resize tokens (1, K, H', W') to (1, K, H, W) bicubically, with aligned corners if one of their sides is odd."""
    if tokens.shape[2:] == (height, width):
        return tokens
    odd = tokens.shape[2] % 2 == 1 or tokens.shape[3] % 2 == 1
    return F.interpolate(tokens, size=(height, width), mode="bicubic", align_corners=odd)


def decode(feature_map: Tensor, w: Weights, variant: str, *, printed: bool = False) -> Tensor:
    """Fig. 2: compute logits (N, K, H, W) from the backbone's map (N, C, H, W).

    Args:
        feature_map: The map of the backbone.
        w: The weights of our head; the ConvBlock is skipped if it has no weights.
        variant: A name in `VARIANTS`.
        printed: Whether the attention logits are divided by sqrt(C), as in the text of the paper.
    """
    features = conv(feature_map, w / "project")
    tokens = resized_tokens(w["tokens"], *feature_map.shape[2:])
    tokens = tokens.expand(len(feature_map), -1, -1, -1).contiguous()
    place, divisor = 0, feature_map.shape[1] ** 0.5 if printed else None
    while f"blocks.{place}." in w:
        tokens, features = BLOCKS[variant](tokens, features, w / "blocks" / place, divisor)
        place += 1
    return conv_block(tokens, w / "refine") if "refine." in w else tokens


def loss(logits: Tensor, labels: Tensor, ignore_value: int = 255) -> Tensor:
    """Compute the cross entropy at the size of the labels, averaged over the pixels that are not ignored."""
    logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, labels, ignore_index=ignore_value)
