"""The equations of SGR and GloRe, implemented one by one as in the papers, without any simplification.

Papers: Framework-agnostic Semantically-aware Global Reasoning for Segmentation (WACV 2024), Eqs. 1-4; Chen et al.:
Graph-Based Global Reasoning Networks (CVPR 2019), Eqs. 1-4.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def code(places: Tensor, channels: int) -> Tensor:
    """Compute sine and cosine codes (..., channels) of positions (...), frequency by frequency."""
    angles = [2 * math.pi * places / 10_000 ** (2 * i / channels) for i in range(channels // 2)]
    return torch.stack([a.sin() for a in angles] + [a.cos() for a in angles], dim=-1)


def position_aware(x: Tensor, with_code: bool) -> Tensor:
    """Eq. 1: compute X' (N, 2C, H, W)."""
    channels, height, width = x.shape[1:]
    along_x = code((torch.arange(width, device=x.device) + 0.5) / width, channels).T[:, None, :]
    along_y = code((torch.arange(height, device=x.device) + 0.5) / height, channels).T[:, :, None]
    return torch.cat([x + along_x * with_code, x + along_y * with_code], dim=1)


def semantic_reasoning(x: Tensor, part: nn.Module) -> tuple[Tensor, Tensor]:
    """Compute enhanced features, and regions before the sigmoid, with the weights of a `SemanticReasoning`."""
    height, width = x.shape[-2:]
    located = position_aware(x, part.concepts.code)
    regions = F.conv2d(located, part.concepts.weight[:, :, None, None], part.concepts.bias)
    p = regions.sigmoid()  # Eq. 2
    reduced = F.conv2d(located, part.reduce.weight[:, :, None, None], part.reduce.bias)
    mass = p.sum(dim=(2, 3))
    tokens = torch.einsum("nkhw,ndhw->nkd", p, reduced)  # Eq. 3
    if part.token_aggregation == "mean":
        tokens = tokens / mass[..., None]
    if part.centroid_code:
        places_x = (torch.arange(width, device=x.device) + 0.5) / width
        places_y = (torch.arange(height, device=x.device) + 0.5) / height
        centroid_x = torch.einsum("nkhw,w->nk", p, places_x) / mass  # Eq. 4
        centroid_y = torch.einsum("nkhw,h->nk", p, places_y) / mass
        half = tokens.shape[-1] // 2
        tokens = tokens + torch.cat([code(centroid_x, half), code(centroid_y, half)], dim=-1)
    back = torch.einsum("nkd,nkhw->ndhw", part.reason(tokens), p)
    return x + F.conv2d(back, part.back.weight, part.back.bias), regions


def graph_convolution(nodes: Tensor, part: nn.Module) -> Tensor:
    """Compute ReLU((I - A) V) W."""
    identity = torch.eye(nodes.shape[1])
    smoothed = torch.einsum("ab,nbd->nad", identity - part.adjacency.weight, nodes)
    return smoothed.clamp(min=0) @ part.update.weight.T + part.update.bias


def glore(x: Tensor, part: nn.Module) -> tuple[Tensor, Tensor]:
    """Compute enhanced features and the projection, with the weights of a `GloRe` in evaluation mode."""
    projection, reduced = part.project(x), part.reduce(x)
    nodes = torch.einsum("nkhw,ndhw->nkd", projection, reduced) / (x.shape[-2] * x.shape[-1])
    back = torch.einsum("nkd,nkhw->ndhw", graph_convolution(nodes, part.reason), projection)
    return x + part.back(back), projection
