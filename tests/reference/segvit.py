"""A plain rendering of SegViT's equations: the similarity of every layer head by head, all masks at the crop's size.

Paper: SegViT: Semantic Segmentation with Plain Vision Transformers (NeurIPS 2022), section 3.2. N images, K classes, D
channels, L positions of a map. No dropout.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .weights import Weights


def linear(x: Tensor, w: Weights) -> Tensor:
    return F.linear(x, w["weight"], w["bias"])


def layer_norm(x: Tensor, w: Weights) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w["weight"], w["bias"], 1e-5)


def attention(tokens: Tensor, memory: Tensor, w: Weights, num_heads: int) -> tuple[Tensor, Tensor]:
    """Eqs. 1 and 2; returns the tokens (N, K, D) and the mean of S(Q, K) over the heads (N, K, L)."""
    q, k, v = linear(tokens, w / "query"), linear(memory, w / "key"), linear(memory, w / "value")
    q, k, v = (x.reshape(*x.shape[:2], num_heads, -1).permute(0, 2, 1, 3) for x in (q, k, v))
    similarity = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (N, heads, K, L)
    mask = similarity.clone()
    mixed = (similarity.softmax(dim=-1) @ v).transpose(1, 2).reshape(tokens.shape)
    return linear(mixed, w / "out"), mask.sum(dim=1) / num_heads


def decoder_layer(tokens: Tensor, memory: Tensor, w: Weights, num_heads: int) -> tuple[Tensor, Tensor]:
    """Self-attention, attention to masks, feed-forward network, each with its residual and norm."""
    attended, _ = attention(tokens, tokens, w / "self_attention", num_heads)
    tokens = layer_norm(tokens + attended, w / "norms" / 0)
    attended, mask = attention(tokens, memory, w / "cross_attention", num_heads)
    tokens = layer_norm(tokens + attended, w / "norms" / 1)
    hidden = F.relu(linear(tokens, w / "feed_forward" / 0))
    return layer_norm(tokens + linear(hidden, w / "feed_forward" / 3), w / "norms" / 2), mask


def linear_base(feature: Tensor, w: Weights) -> Tensor:
    """(N, C, H, W) to (N, H * W, D)."""
    return layer_norm(linear(feature.flatten(2).transpose(1, 2), w / 0), w / 1)


def query_upsample(low: Tensor, last: Tensor, w: Weights, num_heads: int) -> Tensor:
    """QU: queries of the low map's grid attend to it, then to the last map; (N, H * W, D)."""
    queries = w["queries"].expand(len(low), -1, -1, -1).flatten(2).transpose(1, 2)
    for place, feature in enumerate((low, last)):
        memory = linear_base(feature, w / "project" / place)
        for layer in range(3):
            queries, _ = decoder_layer(queries, memory, w / "layers" / place / layer, num_heads)
    return queries


def decode(
    maps: list[Tensor], grid: tuple[int, int], w: Weights, *, num_heads: int, num_layers: int, summed: bool
) -> list[tuple[Tensor, Tensor]]:
    """Masks (N, K, *grid) and class logits (N, K, K+1) of every level."""
    tokens = w["tokens"][None].repeat(len(maps[0]), 1, 1)
    levels, total = [], 0
    for level, memory in enumerate(maps):
        for layer in range(num_layers):
            tokens, mask = decoder_layer(tokens, memory, w / "levels" / level / layer, num_heads)
        mask = mask.reshape(*mask.shape[:2], *grid)
        total = total + mask if summed else mask
        levels.append((total, linear(tokens, w / "classify")))
    return levels


def upsample(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


def scores(masks: Tensor, logits: Tensor) -> Tensor:
    """The product of class probabilities and masks (N, K, H, W) at their size."""
    return torch.einsum("nkc,nkhw->nchw", logits.softmax(dim=-1)[..., :-1], masks.sigmoid())


def loss(levels: list[tuple[Tensor, Tensor]], targets: Tensor) -> dict[str, Tensor]:
    """Eq. 4 over all levels, mask by mask; targets (N, H, W) with 255 where a pixel does not count.

    The scores are made too, as is custom, to watch the accuracy by.
    """
    outputs = [(upsample(masks, targets.shape[-2:]), logits) for masks, logits in levels]
    watched = scores(*outputs[-1])
    found = [[int(c) for c in target.unique() if c != 255] for target in targets]
    count = sum(map(len, found))
    total = {"loss_focal": 0.0, "loss_dice": 0.0, "loss_class": 0.0}
    for masks, logits in outputs:
        weighted, weights = 0.0, 0.0
        for image, classes in enumerate(found):
            valid = (targets[image] != 255).float()
            for c in classes:
                mask, truth = masks[image, c], (targets[image] == c).float()
                p = mask.sigmoid()
                close = p * truth + (1 - p) * (1 - truth)
                entropy = F.binary_cross_entropy_with_logits(mask, truth, reduction="none")
                focal = (0.25 * truth + 0.75 * (1 - truth)) * (1 - close) ** 2 * entropy
                total["loss_focal"] += 20 * (focal * valid).sum() / valid.sum() / count
                overlap = 2 * (p * truth * valid).sum() + 1
                total["loss_dice"] += (1 - overlap / ((p * valid).sum() + truth.sum() + 1)) / count
            labels = torch.tensor([c if c in classes else masks.shape[1] for c in range(masks.shape[1])])
            weight = torch.tensor([1.0 if c in classes else 0.1 for c in range(masks.shape[1])]) * bool(classes)
            each = F.cross_entropy(logits[image], labels.to(logits.device), reduction="none")
            weighted, weights = weighted + (each * weight.to(each.device)).sum(), weights + weight.sum()
        total["loss_class"] += weighted / weights
    assert watched.shape[-2:] == targets.shape[-2:]
    return total
