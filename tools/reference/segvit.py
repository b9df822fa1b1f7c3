"""A plain implementation of SegViT's equations: every layer keeps the similarity of each head, and all masks are
resized to the size of the crop.

Paper: SegViT: Semantic Segmentation with Plain Vision Transformers (NeurIPS 2022), section 3.2. Letters: N images, K
classes, D channels, L positions of a map. There is no dropout.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .weights import Weights


def first_linear(name: str, n_in: int, n_out: int, std: float = 0.02) -> dict[str, Tensor]:
    weight = nn.init.trunc_normal_(torch.empty(n_out, n_in), std=std)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(n_out)}


def first_attention(name: str, width: int, *, packed: bool) -> dict[str, Tensor]:
    """Draw the initial weights of an attention; if `packed`, as torch's own module does for query, key and value."""
    parts = ("query", "key", "value")
    found = {}
    for part in (*parts, "out"):
        found |= first_linear(f"{name}.{part}", width, width)
    if packed:
        three = nn.MultiheadAttention(width, 1).in_proj_weight.detach().chunk(3)
        found |= {f"{name}.{part}.weight": weight for part, weight in zip(parts, three, strict=True)}
    return found


def first_layers(names: list[str], width: int, *, gives_masks: bool) -> dict[str, Tensor]:
    """Draw the initial weights of the decoder layers on one map, which are the same for all of these layers."""
    one = first_attention("self_attention", width, packed=True)
    one |= first_attention("cross_attention", width, packed=not gives_masks)
    one |= first_linear("feed_forward.0", width, 4 * width) | first_linear("feed_forward.3", 4 * width, width)
    for place in range(3):
        one |= {f"norms.{place}.weight": torch.ones(width), f"norms.{place}.bias": torch.zeros(width)}
    return {f"{name}.{key}": value for name in names for key, value in one.items()}


def first_bases(prefix: str, count: int, channels: int, width: int) -> dict[str, Tensor]:
    """Draw the initial weights of the linear layers and norms on the backbone's maps."""
    found = {}
    for place in range(count):
        found |= first_linear(f"{prefix}.project.{place}.0", channels, width)
        norm = {"weight": torch.ones(width), "bias": torch.zeros(width)}
        found |= {f"{prefix}.project.{place}.1.{name}": value for name, value in norm.items()}
    return found


def first_weights(*, channels: int, width: int, num_classes: int, side: int | None = None) -> dict[str, Tensor]:
    """Draw the initial weights of a head, by the names of our head: three levels of three layers each.

    With `side`, the side of the grid of upsampling queries, they are those of Shrunk.
    """
    found = {"tokens": torch.randn(num_classes, width)} | first_linear("classify", width, num_classes + 1)
    if side is None:
        found |= first_bases("bases", 3, channels, width)
        for level in range(3):
            found |= first_layers([f"levels.{level}.{layer}" for layer in range(3)], width, gives_masks=True)
        return found
    found |= first_bases("bases.bases", 2, channels, width) | {"bases.bases.queries": torch.randn(1, width, side, side)}
    for place in range(2):
        found |= first_layers([f"bases.bases.layers.{place}.{layer}" for layer in range(3)], width, gives_masks=False)
    return found | first_layers([f"levels.{level}.0" for level in range(3)], width, gives_masks=True)


def linear(x: Tensor, w: Weights) -> Tensor:
    return F.linear(x, w["weight"], w["bias"])


def layer_norm(x: Tensor, w: Weights) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w["weight"], w["bias"], 1e-5)


def attention(
    tokens: Tensor, memory: Tensor, w: Weights, num_heads: int, *, with_mask: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Eqs. 1 and 2; returns the tokens (N, K, D) and, if wanted, the mean of S(Q, K) over the heads (N, K, L)."""
    q, k, v = linear(tokens, w / "query"), linear(memory, w / "key"), linear(memory, w / "value")
    q, k, v = (x.reshape(*x.shape[:2], num_heads, -1).permute(0, 2, 1, 3) for x in (q, k, v))
    similarity = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (N, heads, K, L)
    mask = similarity.mean(dim=1) if with_mask else None
    mixed = (similarity.softmax(dim=-1) @ v).transpose(1, 2).reshape(tokens.shape)
    return linear(mixed, w / "out"), mask


def decoder_layer(
    tokens: Tensor, memory: Tensor, w: Weights, num_heads: int, *, with_mask: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Run self-attention, cross attention, whose similarity is the mask, and the feed-forward network.

    Each is followed by a residual connection and a norm.
    """
    attended, _ = attention(tokens, tokens, w / "self_attention", num_heads)
    tokens = layer_norm(tokens + attended, w / "norms" / 0)
    attended, mask = attention(tokens, memory, w / "cross_attention", num_heads, with_mask=with_mask)
    tokens = layer_norm(tokens + attended, w / "norms" / 1)
    hidden = F.relu(linear(tokens, w / "feed_forward" / 0))
    return layer_norm(tokens + linear(hidden, w / "feed_forward" / 3), w / "norms" / 2), mask


def linear_base(feature: Tensor, w: Weights) -> Tensor:
    """Project a map (N, C, H, W) to (N, H * W, D)."""
    return layer_norm(linear(feature.flatten(2).transpose(1, 2), w / 0), w / 1)


def query_upsample(low: Tensor, last: Tensor, w: Weights, num_heads: int) -> Tensor:
    """Query-based upsampling: queries (N, H * W, D) attend to the map `low`, then to the map `last`."""
    queries = w["queries"].expand(len(low), -1, -1, -1).flatten(2).transpose(1, 2)
    for place, feature in enumerate((low, last)):
        memory = linear_base(feature, w / "project" / place)
        for layer in range(3):
            queries, _ = decoder_layer(queries, memory, w / "layers" / place / layer, num_heads)
    return queries


def decode(
    maps: list[Tensor], grid: tuple[int, int], w: Weights, *, num_heads: int, num_layers: int, summed: bool
) -> list[tuple[Tensor, Tensor]]:
    """Compute masks (N, K, *grid) and class logits (N, K, K+1) of every level."""
    tokens = w["tokens"][None].repeat(len(maps[0]), 1, 1)
    levels, total = [], 0
    for level, memory in enumerate(maps):
        for layer in range(num_layers):
            tokens, mask = decoder_layer(tokens, memory, w / "levels" / level / layer, num_heads, with_mask=True)
        mask = mask.reshape(*mask.shape[:2], *grid)
        total = total + mask if summed else mask
        levels.append((total, linear(tokens, w / "classify")))
    return levels


def upsample(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


def scores(masks: Tensor, logits: Tensor) -> Tensor:
    """Compute the product of class probabilities and masks (N, K, H, W), at the size of the masks."""
    return torch.einsum("nkc,nkhw->nchw", logits.softmax(dim=-1)[..., :-1], masks.sigmoid())


def loss(levels: list[tuple[Tensor, Tensor]], targets: Tensor) -> dict[str, Tensor]:
    """Eq. 4, summed over all levels, for targets (N, H, W) in which 255 marks ignored pixels.

    As usual in such code, the scores are computed as well, to monitor the accuracy of the training.
    """
    outputs = [(upsample(masks, targets.shape[-2:]), logits) for masks, logits in levels]
    watched = scores(*outputs[-1])
    assert watched.shape[-2:] == targets.shape[-2:]
    pairs = [(n, c) for n, target in enumerate(targets) for c in target.unique().tolist() if c != 255]
    images, classes = (torch.tensor(each, dtype=torch.long, device=targets.device) for each in zip(*pairs, strict=True))
    truth = torch.stack([targets[n] == c for n, c in pairs]).float()
    valid = (targets[images] != 255).float()

    total = {"loss_focal": 0.0, "loss_dice": 0.0, "loss_class": 0.0}
    for masks, logits in outputs:
        chosen = masks[images, classes]  # (M, H, W)
        p = chosen.sigmoid()
        right = p * truth + (1 - p) * (1 - truth)
        entropy = F.binary_cross_entropy_with_logits(chosen, truth, reduction="none")
        focal = (0.25 * truth + 0.75 * (1 - truth)) * (1 - right) ** 2 * entropy
        total["loss_focal"] += 20 * (focal * valid).mean()
        overlap = 2 * (p * truth * valid).sum((1, 2)) + 1
        total["loss_dice"] += (1 - overlap / ((p * valid).sum((1, 2)) + truth.sum((1, 2)) + 1)).mean()
        no_object = logits.shape[2] - 1
        labels = torch.full(logits.shape[:2], no_object, device=logits.device)
        labels[images, classes] = classes
        weights = torch.ones(no_object + 1, device=logits.device)
        weights[no_object] = 0.1
        total["loss_class"] += F.cross_entropy(logits.transpose(1, 2), labels, weights)
    return total
