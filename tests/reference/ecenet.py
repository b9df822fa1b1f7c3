"""ECENet's equations written out plainly, one step at a time, with the weights of our modules.

Paper: Boosting Semantic Segmentation from the Perspective of Explicit Class Embeddings (ICCV 2023). Nothing here is
fast: maps are (N, C, H, W) in torch's own memory order, attention goes head by head, norms copy to (N, HW, C) and back.
"""

import torch
from torch.nn import functional as F


def channel_norm(x, norm):
    """Layer norm over the channels of every pixel."""
    n, c, h, w = x.shape
    y = F.layer_norm(x.flatten(2).transpose(1, 2), (c,), norm.weight, norm.bias, norm.eps)
    return y.transpose(1, 2).reshape(n, c, h, w)


def reconstruct(part, x):
    """Eqs. 1 and 2 and the projection; returns the map and Y''."""
    intrinsic = part.intrinsic(x)
    cheap = part.cheap(intrinsic)
    squeezed = F.relu(cheap.mean((2, 3)) @ part.recalibrate.squeeze.weight.T)
    factor = torch.sigmoid(squeezed @ part.recalibrate.excite.weight.T)
    diverse = torch.stack([cheap[:, c] * factor[:, c, None, None] for c in range(cheap.shape[1])], 1)
    return part.project(torch.cat([intrinsic, diverse], 1)), diverse


def diversity_loss(diverse):
    """Eq. 3 of one batch, pixel by pixel in exponentials."""
    values = []
    for maps in diverse.flatten(2):  # (C, HW)
        shares = maps.exp() / maps.exp().sum(1, keepdim=True)
        values.append(1 - sum(shares[:, k].max() for k in range(shares.shape[1])) / len(maps))
    return torch.stack(values).mean()


def semantics_attention(part, x, embeddings):
    """Eqs. 6 and 7 and the MLP; returns the map and the mask."""
    n, c, h, w = x.shape
    query = part.query(channel_norm(x, part.feature_norm)).flatten(2).transpose(1, 2)  # (N, HW, C)
    key, value = part.key_value(part.embedding_norm(embeddings)).split(c, 2)
    width = c // part.num_heads
    outputs, similarities = [], []
    for head in range(part.num_heads):
        own = slice(head * width, (head + 1) * width)
        similarity = torch.einsum("nlc,nkc->nlk", query[..., own], key[..., own]) / width**0.5
        outputs.append(torch.einsum("nlk,nkc->nlc", similarity.softmax(2), value[..., own]))
        similarities.append(similarity)
    attended = torch.cat(outputs, 2).transpose(1, 2).reshape(n, c, h, w)
    x = x + part.project(attended)
    y = channel_norm(x, part.mlp[0])
    for layer in part.mlp[1:]:
        y = layer(y)
    return x + y, (sum(similarities) / part.num_heads).transpose(1, 2).reshape(n, -1, h, w)


def extract(part, masks):
    """Eq. 5."""
    pooled = [F.adaptive_avg_pool2d(masks, side).flatten(2) for side in part.grids]
    return part.project(torch.cat(pooled, 2))


def gated_update(part, new, old):
    """Eqs. 9 and 10 and the closing layer."""
    factor, value = part.project_new(new).split(new.shape[2], 2)
    gate = torch.sigmoid(part.gate_norm(part.gate(factor * part.project_old(old))))
    return F.relu(part.out_norm(part.out(gate * part.value_norm(value) + old)))


def ghost_upscale(part, x):
    """One doubling, section 3.5."""
    primary = F.relu(part.primary[1](part.primary[0](x)))
    cheap = F.relu(part.cheap[1](part.cheap[0](primary)))
    return F.pixel_shuffle(torch.cat([primary, cheap], 1), 2)


def scores(head, features):
    """The head in evaluation; returns the scores and the masks, the coarsest first."""
    stages = []
    for place, name in enumerate(head.in_features):
        x, _ = reconstruct(head.reconstructions[place], features[name])
        norm, convolution = head.unify[place]
        stages.append(convolution(channel_norm(x, norm)))
    masks = [head.coarsest_mask(stages[-1])]
    embeddings = extract(head.extractions[0], masks[0])
    enhanced = [stages[-1]]
    for place, x in enumerate(stages[-2::-1]):
        x, mask = semantics_attention(head.attentions[place], x, embeddings)
        embeddings = gated_update(head.updaters[place], extract(head.extractions[place + 1], mask), embeddings)
        enhanced.append(x)
        masks.append(mask)
    size = stages[0].shape[-2:]
    upscaled = []
    for x, blocks in zip(enhanced[::-1], head.upscales, strict=True):
        for block in blocks:
            x = ghost_upscale(block, x)
        upscaled.append(F.interpolate(x, size=size, mode="bilinear", align_corners=False))
    convolution, norm, _ = head.fuse
    fused = F.relu(norm(F.conv2d(torch.cat(upscaled, 1), convolution.weight, padding=1)))
    dense = head.classify(fused)
    summed = sum(F.interpolate(mask, size=size, mode="bilinear", align_corners=False) for mask in masks)
    confidence = torch.softmax(head.confidence.classify(embeddings), 2)
    own = torch.stack([confidence[:, k, k] for k in range(confidence.shape[1])], 1)
    return dense + own[:, :, None, None] * torch.sigmoid(summed), masks
