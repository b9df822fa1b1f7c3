"""A plain implementation of ECENet's equations: NCHW throughout, no merged layers, attention head by head.

Paper: Boosting Semantic Segmentation from the Perspective of Explicit Class Embeddings (ICCV 2023), section 3.
Letters: N images, K classes, D channels of all maps and embeddings. Stages are in order from the finest to the
coarsest. There is no dropout.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .weights import Weights

GRIDS = (1, 2, 3, 6)


class Decoded(NamedTuple):
    """Scores (N, K, H, W), the masks of the stages, and their diverse features, which only reconstruction has."""

    scores: Tensor
    masks: list[Tensor]
    diverse: list[Tensor]


def layer_norm(x: Tensor, w: Weights, eps: float) -> Tensor:
    """Normalise the channels of every pixel: flatten, transpose, make contiguous, normalise, and reverse this."""
    n, c, height, width = x.shape
    x = x.flatten(2).transpose(1, 2).contiguous()
    x = F.layer_norm(x, (c,), w["weight"], w["bias"], eps)
    return x.transpose(1, 2).reshape(n, c, height, width).contiguous()


def batch_norm(x: Tensor, w: Weights, training: bool) -> Tensor:
    """Normalise by the batch statistics in training, without updating the running ones."""
    mean, variance = (None, None) if training else (w["running_mean"], w["running_var"])
    return F.batch_norm(x, mean, variance, w["weight"], w["bias"], training=training)


def bias(w: Weights) -> Tensor | None:
    if "bias" in w:
        return w["bias"]
    return None


def conv(x: Tensor, w: Weights) -> Tensor:
    """Convolve without changing the size; the number of groups follows from the shape of the weight."""
    weight = w["weight"]
    return F.conv2d(x, weight, bias(w), padding=weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])


def linear(x: Tensor, w: Weights) -> Tensor:
    return F.linear(x, w["weight"], bias(w))


def vector_norm(x: Tensor, w: Weights) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w["weight"], w["bias"])


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def reconstruct(x: Tensor, w: Weights, training: bool, released: bool) -> tuple[Tensor, Tensor]:
    """Eqs. 1 and 2: compute the reconstructed map and Y''. The released model has no sigmoid on the factors."""
    intrinsic = batch_norm(conv(x, w / "intrinsic" / 0), w / "intrinsic" / 1, training)
    cheap = batch_norm(conv(intrinsic, w / "cheap" / 0), w / "cheap" / 1, training)
    squeezed = F.relu(linear(cheap.mean(dim=(2, 3)), w / "recalibrate" / "squeeze"))
    factor = linear(squeezed, w / "recalibrate" / "excite")
    diverse = cheap * (factor if released else torch.sigmoid(factor))[:, :, None, None]
    return conv(torch.cat([intrinsic, diverse], dim=1), w / "project"), diverse


def diversity_loss(diverse: Tensor) -> Tensor:
    """Eq. 3, with the softmax written out."""
    shares = diverse.flatten(2).exp()
    shares = shares / shares.sum(dim=2, keepdim=True)
    return (1 - shares.max(dim=1).values.sum(dim=1) / diverse.shape[1]).mean()


def extract(masks: Tensor, w: Weights) -> Tensor:
    """Eq. 5. The side of the finest grid follows from the shape of the weight."""
    count = w["project.weight"].shape[1] - sum(side**2 for side in GRIDS)
    pooled = [F.adaptive_avg_pool2d(masks, side).flatten(2) for side in (*GRIDS, round(count**0.5))]
    return linear(torch.cat(pooled, dim=2), w / "project")


def gated_update(new: Tensor, old: Tensor, w: Weights) -> Tensor:
    """Eqs. 9 and 10, and the layer after them if it has weights."""
    factor, value = linear(new, w / "project_new").split(new.shape[2], dim=2)
    fused = factor * linear(old, w / "project_old")
    gate = torch.sigmoid(vector_norm(linear(fused, w / "gate"), w / "gate_norm"))
    updated = gate * vector_norm(value, w / "value_norm") + old
    return F.relu(vector_norm(linear(updated, w / "out"), w / "out_norm")) if "out." in w else updated


def semantics_attention(
    x: Tensor, embeddings: Tensor, w: Weights, num_heads: int, released: bool
) -> tuple[Tensor, Tensor]:
    """Eqs. 6 and 7 and the MLP: compute the enhanced map and the mask.

    The released model has further ReLUs, and the opposite sign in the softmax.
    """
    n, d, height, width = x.shape
    query = conv(layer_norm(x, w / "feature_norm", 1e-5), w / "query" / 0)
    query = conv(F.relu(query) if released else query, w / "query" / 1)
    query = F.relu(query) if released else query
    query = query.flatten(2).transpose(1, 2)  # (N, HW, D)
    key, value = linear(vector_norm(embeddings, w / "embedding_norm"), w / "key_value").split(d, dim=2)
    attended, masks = [], 0
    for q, k, v in zip(*(each.split(d // num_heads, dim=2) for each in (query, key, value)), strict=True):
        similarity = torch.matmul(q, k.transpose(1, 2)) / (d // num_heads) ** 0.5
        attended.append(torch.matmul((-similarity if released else similarity).softmax(dim=2), v))
        masks = masks + similarity / num_heads
    attended = torch.cat(attended, dim=2).transpose(1, 2).reshape(n, d, height, width)
    x = x + conv(attended, w / "project")
    mlp = w / "mlp"
    hidden = F.gelu(conv(conv(layer_norm(x, mlp / 0, 1e-5), mlp / 1), mlp / 2))
    return x + conv(hidden, mlp / 4), masks.transpose(1, 2).reshape(n, -1, height, width)


def ghost_upscale(x: Tensor, w: Weights, training: bool) -> Tensor:
    """Section 3.5: double height and width."""
    primary = F.relu(batch_norm(conv(x, w / "primary" / 0), w / "primary" / 1, training))
    cheap = F.relu(batch_norm(conv(primary, w / "cheap" / 0), w / "cheap" / 1, training))
    return F.pixel_shuffle(torch.cat([primary, cheap], dim=1), 2)


def decode(
    maps: list[Tensor], w: Weights, *, num_heads: int = 4, training: bool = False, released: bool = False
) -> Decoded:
    """Fig. 3: compute the scores from the backbone's maps.

    Args:
        maps: The map (N, C_i, H_i, W_i) of every stage.
        w: The weights of our head.
        num_heads: The number of heads of the attention.
        training: Whether batch norms use the statistics of the batch.
        released: Whether operations without weights, such as ReLUs, are those of the released model.
    """
    diverse = []
    if "reconstructions" in w:
        pairs = [reconstruct(x, w / "reconstructions" / place, training, released) for place, x in enumerate(maps)]
        maps, diverse = [x for x, _ in pairs], [apart for _, apart in pairs]
    stages = [
        conv(layer_norm(x, w / "unify" / place / 0, 1e-5), w / "unify" / place / 1) for place, x in enumerate(maps)
    ]
    masks = [conv(conv(stages[-1], w / "coarsest_mask" / 0), w / "coarsest_mask" / 1)]  # Eq. 4
    embeddings = extract(masks[0], w / "extractions" / 0)
    enhanced = [stages[-1]]
    for place, x in enumerate(reversed(stages[:-1])):
        x, mask = semantics_attention(x, embeddings, w / "attentions" / place, num_heads, released)
        new = extract(mask, w / "extractions" / (place + 1))  # Eq. 8
        embeddings = gated_update(new, embeddings, w / "updaters" / place)
        enhanced.insert(0, x)
        masks.insert(0, mask)
    size, upscaled = stages[0].shape[2:], []
    for place, x in enumerate(enhanced):
        for step in range(place):
            x = ghost_upscale(x, w / "upscales" / place / step, training)
        upscaled.append(resized(x, size))
    fused = F.relu(batch_norm(conv(torch.cat(upscaled, dim=1), w / "fuse" / 0), w / "fuse" / 1, training))
    dense = conv(fused, w / "classify" / 1)
    own = torch.diagonal(linear(embeddings, w / "confidence" / "classify").softmax(dim=2), dim1=1, dim2=2)
    scores = dense + own[:, :, None, None] * torch.sigmoid(sum(resized(mask, size) for mask in masks))
    return Decoded(scores, masks, diverse)


def loss(decoded: Decoded, labels: Tensor) -> Tensor:
    """Eqs. 11 and 12, for labels without ignored pixels.

    The terms are cross entropy, focal loss with weight 5 and dice loss with weight 2 on the sum of all masks but the
    finest, and the diversity loss with weight 0.2.
    """
    total = F.cross_entropy(resized(decoded.scores, labels.shape[1:]), labels)
    total = total + 0.2 * sum(diversity_loss(diverse) for diverse in decoded.diverse) / max(len(decoded.diverse), 1)
    size = decoded.scores.shape[2:]
    masks = resized(sum(resized(mask, size) for mask in decoded.masks[1:]), labels.shape[1:])
    focal, dice, count = 0, 0, 0
    for image, label in zip(masks, labels, strict=True):
        for k in label.unique():
            wanted, found = (label == k).float(), torch.sigmoid(image[k])
            right = wanted * found + (1 - wanted) * (1 - found)
            each = F.binary_cross_entropy_with_logits(image[k], wanted, reduction="none")
            focal = focal + ((0.25 * wanted + 0.75 * (1 - wanted)) * (1 - right) ** 2 * each).mean()
            dice = dice + 1 - (2 * (found * wanted).sum() + 1) / (found.sum() + wanted.sum() + 1)
            count += 1
    return total + (5 * focal + 2 * dice) / count
