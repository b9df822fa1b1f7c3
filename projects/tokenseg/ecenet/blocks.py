"""The parts of ECENet after the features are reconstructed: attention, upscaling, class confidence.

Paper: Boosting Semantic Segmentation from the Perspective of Explicit Class Embeddings, "ECENet" (ICCV 2023), sections
3.4 and 3.5. Letters: N images, K classes, D channels of all maps and embeddings, H x W a stage's map.
"""

import functools
from collections import OrderedDict
from collections.abc import Sequence

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.point_conv import PointConv2d
from ..layers.single_precision import at_least_single
from .readings import read

# The epsilon of every layer norm of the head, as in the released model; timm's default for maps is 1e-6.
NORM_EPS = 1e-5


class FirstMask(nn.Sequential):
    """The masks of the coarsest stage, Eq. 4: phi_1 and phi_2 without activation, (N, D, H, W) to (N, K, H, W)."""

    def __init__(self, *, num_classes: int, width: int, groups: int) -> None:
        """
        Args:
            num_classes: The number of classes K.
            width: The number of channels D.
            groups: The number of groups of the convolution phi_1.
        """
        super().__init__(
            PointConv2d(width, width, groups=groups, bias=False), PointConv2d(width, num_classes, bias=False)
        )


class SemanticsAttention(nn.Module):
    """Semantics attention (SA), Eqs. 6 and 7 and Fig. 4: the pixels of a stage attend to the class embeddings.

    The similarities before the softmax, averaged over the heads, are the masks of the classes.
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int = 4,
        mlp_ratio: int = 4,
        reading: str = "default",
        reverse_similarity: bool | None = None,
    ) -> None:
        """
        Args:
            width: The number of channels D.
            num_heads: The number of heads of the attention.
            mlp_ratio: The number of hidden channels of the MLP over D.
            reading: A key of `READINGS`.
            reverse_similarity: Whether the similarity is negated, so that pixels attend most to the least similar
                embeddings; by default the reading decides.

        Raises:
            ValueError: The number of heads does not divide the width, or the reading is unknown.
        """
        super().__init__()
        choice = read(reading)
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}; wanted a divisor of the width, {width}")
        hidden = width * mlp_ratio
        self.num_heads, self.scale = num_heads, (width // num_heads) ** -0.5
        self.reverse_similarity = choice.reverse_similarity if reverse_similarity is None else reverse_similarity
        self.feature_norm, self.embedding_norm = LayerNorm2d(width, eps=NORM_EPS), nn.LayerNorm(width, eps=NORM_EPS)
        self.query = _queries(width, relu=choice.query_relu)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.project = PointConv2d(width, width)
        self.mlp = nn.Sequential(
            LayerNorm2d(width, eps=NORM_EPS),
            PointConv2d(width, hidden),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            PointConv2d(hidden, width),
        )

    def forward(self, features: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            features: X_i (N, D, H, W).
            embeddings: G (N, K, D).

        Returns:
            The strengthened features (N, D, H, W), and the masks S(Q, K) (N, K, H, W) in single precision.
        """
        size = features.shape[-2:]
        query = self.query(self.feature_norm(features)).permute(0, 2, 3, 1).flatten(1, 2)  # (N, HW, D)
        key, value = self.key_value(self.embedding_norm(embeddings)).chunk(2, dim=-1)  # Eq. 6
        query, key, value = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
        # Scale the keys, since there are far fewer of them than similarities.
        similarity = at_least_single(query @ (self.scale * key).mT)  # (N, heads, HW, K)
        weights = (-similarity if self.reverse_similarity else similarity).softmax(dim=-1)  # Eq. 7
        attended = weights.to(value.dtype) @ value
        attended = attended.transpose(1, 2).flatten(2).unflatten(1, size).permute(0, 3, 1, 2)  # (N, D, H, W)
        features = features + self.project(attended)
        features = features + self.mlp(features)
        return features, similarity.mean(dim=1).unflatten(1, size).permute(0, 3, 1, 2)


def _queries(width: int, *, relu: bool) -> nn.Sequential:
    """Create the query projection; weights have the same names with and without activations."""
    depth_wise, point_wise = nn.Conv2d(width, width, 3, padding=1, groups=width), PointConv2d(width, width)
    if not relu:
        return nn.Sequential(depth_wise, point_wise)
    parts = {"0": depth_wise, "first_relu": nn.ReLU(), "1": point_wise, "second_relu": nn.ReLU()}
    return nn.Sequential(OrderedDict(parts))


class GhostUpscale(nn.Module):
    """Doubles height and width by ghost features and pixel shuffle, section 3.5.

    Of the 4 D channels to shuffle, one half is convolved from the map, the other depth-wise from the first half.
    """

    def __init__(self, *, width: int) -> None:
        """
        Args:
            width: The number of channels D.
        """
        super().__init__()
        half = 2 * width
        self.primary = nn.Sequential(PointConv2d(width, half, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.cheap = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False), nn.BatchNorm2d(half), nn.ReLU()
        )
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, H, W) to (N, D, 2 H, 2 W)."""
        primary = self.primary(x)
        return self.shuffle(torch.cat([primary, self.cheap(primary)], dim=1))


def ghost_upscales(*, width: int, steps: int) -> nn.Sequential:
    """`steps` upscalings in a row: (N, D, H, W) to (N, D, 2**steps * H, 2**steps * W).

    Args:
        width: The number of channels D.
        steps: The number of steps; with 0 the map stays as it is.
    """
    return nn.Sequential(*(GhostUpscale(width=width) for _ in range(steps)))


class JointConvolution(nn.Conv2d):
    """Convolves concatenated maps without concatenating them, as the sum of one convolution per map.

    The kernel size is odd and the padding half of it, so that maps keep their size. With Swin-B at 640 pixels the
    concatenation would be one of the two largest maps of the head, and the CPU is faster on the parts.
    """

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # type: ignore[override]  # no one takes it for a Conv2d
        """Maps (N, C_i, H, W), of which the C_i sum to `in_channels`, to (N, out_channels, H, W)."""
        weights = self.weight.split([x.shape[1] for x in maps], dim=1)
        parts = (F.conv2d(x, weight, padding=self.padding) for x, weight in zip(maps, weights, strict=True))
        return functools.reduce(torch.add, parts)


class ClassConfidence(nn.Module):
    """Estimates how confidently each class embedding predicts its own class, section 3.5."""

    def __init__(self, *, num_classes: int, width: int) -> None:
        """
        Args:
            num_classes: The number of classes K.
            width: The number of channels D.
        """
        super().__init__()
        self.classify = nn.Linear(width, num_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute probabilities (N, K) from embeddings (N, K, D): entry k is that of class k for embedding k."""
        return at_least_single(self.classify(embeddings)).softmax(dim=-1).diagonal(dim1=1, dim2=2)


def combined_prediction(dense_logits: Tensor, confidence: Tensor, masks: Tensor) -> Tensor:
    """Add the masks of confident classes to the dense logits, section 3.5.

    Args:
        dense_logits: The dense logits (N, K, H, W).
        confidence: The confidence (N, K) from `ClassConfidence`.
        masks: The masks (N, K, H, W), summed over the stages, before any activation.
    """
    return dense_logits + confidence[:, :, None, None] * at_least_single(masks).sigmoid()
