"""SegViT's head: one token per class, whose similarity to the features becomes the mask.

Paper: SegViT: Semantic Segmentation with Plain Vision Transformers (NeurIPS 2022), section 3.2, Figs. 1 and 2.
Beside this file, README.md explains the attention with its shapes, and DIFFERENCES.md lists deviations from the paper.

Letters: N images, K classes, D channels of tokens and maps, L = H * W positions of a map. Maps are channels-last.
"""

import copy
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..contracts import Counts, Targets, given
from ..d2_compat import refuse_yacs
from ..layers.attention import Attention
from ..layers.mask_scores import class_scores
from ..layers.resize import resize
from ..layers.single_precision import at_least_single
from ..losses.mask import MaskPrediction
from ..losses.pixel import count_pixels, pixel_cross_entropy
from .bases import Bases


class DecoderLayer(nn.Module):
    """A post-norm transformer decoder layer; its cross attention is attention-to-mask (ATM), Fig. 2."""

    def __init__(self, *, width: int, num_heads: int, dropout: float, gives_masks: bool = True) -> None:
        """
        Args:
            width: The number of channels D.
            num_heads: The number of heads of both attentions.
            dropout: The dropout rate of attention weights, of hidden channels, and of each residual branch.
            gives_masks: Whether the cross attention is attention-to-mask. This only affects the initialisation, see
                `begin`.
        """
        super().__init__()
        self.gives_masks = gives_masks
        self.self_attention = Attention(width=width, num_heads=num_heads, dropout=dropout)
        self.cross_attention = Attention(width=width, num_heads=num_heads, dropout=dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, memory: Tensor, *, with_mask: bool = False) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            tokens: The tokens (N, K, D).
            memory: The map (N, L, D) that the tokens attend to.
            with_mask: Whether to return the masks.

        Returns:
            The tokens (N, K, D), and their masks before the sigmoid of Eq. 3 (N, K, L) or None.
        """
        attended, _ = self.self_attention(tokens, tokens)
        tokens = self.norms[0](tokens + self.dropout(attended))
        attended, mask = self.cross_attention(tokens, memory, with_similarity=with_mask)
        tokens = self.norms[1](tokens + self.dropout(attended))
        return self.norms[2](tokens + self.dropout(self.feed_forward(tokens))), mask

    def begin(self) -> None:
        """Initialise the attention weights for which the authors use torch's own module.

        This module packs queries, keys and values into one weight (3 D, D) and draws it from Xavier's uniform
        distribution. The authors use it for self-attention, and for cross attention without masks. Attention-to-mask
        has three separate linear layers, which are initialised like all others.
        """
        packed = [self.self_attention] if self.gives_masks else [self.self_attention, self.cross_attention]
        for attention in packed:
            for part in (attention.query, attention.key, attention.value):
                bound = (6 / (part.in_features + 3 * part.out_features)) ** 0.5
                nn.init.uniform_(part.weight, -bound, bound)


class Decoder(nn.ModuleList):
    """The decoder layers of one map; `begin_alike` is called after their weights have been initialised."""

    def begin_alike(self) -> None:
        """Make every layer a copy of the first one, which is the authors' initialisation."""
        for layer in self[1:]:
            layer.load_state_dict(self[0].state_dict())

    def forward(self, tokens: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers.

        Args:
            tokens: The tokens (N, K, D).
            memory: The map (N, L, D).

        Returns:
            The tokens (N, K, D), and the masks of the last layer before the sigmoid (N, K, L).
        """
        *first, last = self
        for layer in first:
            tokens, _ = layer(tokens, memory)
        return last(tokens, memory, with_mask=True)


class MaskUpdate(nn.Module):
    """Updates the tokens from their own masks with the modules of ECENet (ICCV 2023, Table 7)."""

    def __init__(self, *, extract: nn.Module, update: nn.Module) -> None:
        """
        Args:
            extract: The module that computes embeddings (N, K, D) from masks (N, K, H, W).
            update: The module that computes tokens from new embeddings and old tokens, (N, K, D) each.
        """
        super().__init__()
        self.extract, self.update = extract, update

    def forward(self, masks: Tensor, tokens: Tensor) -> Tensor:
        """Compute the updated tokens from masks (N, K, H, W) and tokens (N, K, D)."""
        return self.update(self.extract(masks), tokens)


class CombinedCrossEntropy(nn.Module):
    """Cross entropy that treats the last prediction's combined scores as logits: the loss of Table 4's second row."""

    def __init__(self, *, ignore_value: int = 255) -> None:
        """
        Args:
            ignore_value: The label of the pixels to ignore.
        """
        super().__init__()
        self.ignore_value = ignore_value

    def count(self, targets: Targets) -> Counts:
        """The valid pixels."""
        return count_pixels(targets, ignore_value=self.ignore_value)

    def forward(self, predictions: list[MaskPrediction], targets: Targets) -> dict[str, Tensor]:
        """Compute the loss `loss_sem_seg` from predictions and targets with labels (N, H, W)."""
        last = predictions[-1]
        scores = class_scores(last.masks, last.needed_logits(), size=targets.labels.shape[-2:])
        return {"loss_sem_seg": pixel_cross_entropy(scores, targets, ignore_value=self.ignore_value)}


class Criterion(Protocol):
    """The losses of the levels' predictions: a `MaskLoss`, or `CombinedCrossEntropy`."""

    ignore_value: int

    def count(self, targets: Targets) -> Counts:
        """As a head's."""

    def __call__(self, predictions: list[MaskPrediction], targets: Targets) -> dict[str, Tensor]:
        """Scalar losses by name."""


@runtime_checkable
class BeginsLast(Protocol):
    """A part of the bases whose initial weights depend on other parts, such as `TiedQueryUpsample`."""

    def begin_last(self) -> None:
        """Initialise the part, after all other weights have been drawn."""


READINGS = ("printed", "released")


@SEM_SEG_HEADS_REGISTRY.register()
class SegViTHead(nn.Module):
    """A cascade of levels, each of which attends to one map with the tokens of the level before it.

    Attributes:
        gives_probabilities: Whether scores of several scales and flips are averaged directly, as printed. In the
            released code they first go through a softmax, as if they were logits.
    """

    @refuse_yacs
    def __init__(
        self,
        *,
        bases: Bases,
        num_classes: int,
        width: int,
        num_heads: int,
        criterion: Criterion,
        size_feature: str,
        stride: int,
        num_layers: int = 3,
        dropout: float = 0.1,
        sum_masks: bool = True,
        updater: nn.Module | None = None,
        init_std: float = 0.02,
        reading: str = "printed",
    ) -> None:
        """
        Args:
            bases: The module that turns the backbone's features into a list of maps (N, H_i, W_i, D), one for each
                level in the order of decoding, see `Bases`.
            num_classes: The number of classes K, each of which has one token.
            width: The number of channels D.
            num_heads: The number of heads of every attention.
            criterion: The losses of the levels' predictions: `MaskLoss` or `CombinedCrossEntropy`.
            size_feature: The name of a feature map from whose size the size of the input is computed.
            stride: The stride of that map in pixels.
            num_layers: The number of layers per level; the mask of the last layer is the level's mask.
            dropout: The rate of dropout in every `DecoderLayer`.
            sum_masks: Whether a level's prediction is the sum of its mask and the masks of all previous levels.
            updater: The module that updates a level's tokens from its mask, such as `MaskUpdate`; every level gets a
                copy.
            init_std: The standard deviation of the initial weights of linear layers, except for those that
                `DecoderLayer.begin` draws. Outputs scale with the root of D, so a head with far fewer channels than
                the 384 for ViT-B needs a larger value, or else it starts to learn late.
            reading: Whether scores are averaged as printed in the paper, `printed`, or as in the released code,
                `released`; see `gives_probabilities`.

        Raises:
            ValueError: The reading is unknown.
        """
        super().__init__()
        if reading not in READINGS:
            raise ValueError(f"reading is '{reading}'; wanted one of {', '.join(READINGS)}")
        self.gives_probabilities = reading == "printed"
        self.bases, self.criterion, self.ignore_value = bases, criterion, criterion.ignore_value
        self.size_feature, self.stride, self.sum_masks = size_feature, stride, sum_masks
        self.tokens = nn.Parameter(torch.empty(num_classes, width))
        self.levels = nn.ModuleList(
            Decoder(DecoderLayer(width=width, num_heads=num_heads, dropout=dropout) for _ in range(num_layers))
            for _ in bases.map_ids
        )
        self.updaters = nn.ModuleList(copy.deepcopy(updater) for _ in self.levels if updater is not None)
        self.classify = nn.Linear(width, num_classes + 1)
        self._begin(init_std)

    def _begin(self, std: float) -> None:
        """Initialise the weights. All layers on the same map begin as copies of the first, even across levels."""
        nn.init.normal_(self.tokens)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                nn.init.zeros_(module.bias)
        for part in self.modules():
            if isinstance(part, DecoderLayer):
                part.begin()
        for part in self.modules():
            if isinstance(part, Decoder):
                part.begin_alike()
        first: dict[int, nn.Module] = {}
        for map_id, level in zip(self.bases.map_ids, self.levels, strict=True):
            level.load_state_dict(first.setdefault(map_id, level).state_dict())
        for part in self.modules():
            if isinstance(part, BeginsLast):
                part.begin_last()

    def forward(
        self, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: The maps of the backbone, (N, C_i, H_i, W_i) each.
            targets: The targets in training, with labels (N, h, w) of any size.

        Returns:
            In training None and the criterion's losses, Eq. 4 over all levels; in inference the last level's scores
            (N, K, H, W) at the size of the input, and no losses.
        """
        if not self.training:
            masks, class_logits, size = self.mask_sum(features)
            return class_scores(masks, class_logits, size=size), {}
        predictions = [MaskPrediction(masks, logits) for _, masks, logits in self.decode(features)]
        return None, self.criterion(predictions, given(targets))

    def mask_sum(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return the last level's masks and class logits, from which scores are computed, and the size of the input.

        Args:
            features: The maps of the backbone.
        """
        _, masks, class_logits = self.decode(features)[-1]
        height, width = features[self.size_feature].shape[-2:]
        return masks, class_logits, (height * self.stride, width * self.stride)

    def count(self, targets: Targets) -> Counts:
        """Compute the counts of the criterion."""
        return self.criterion.count(targets)

    def decode(self, features: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Compute the predictions after every level.

        Args:
            features: The maps of the backbone.

        Returns:
            For every level its own masks (N, K, H_i, W_i), its predicted masks (N, K, H, W) at the size of the last
            level, both before the sigmoid, and class logits (N, K, K+1), the last one 'no object'.
        """
        maps = self.bases(features)
        size, total, states = maps[-1].shape[1:3], self.tokens.new_zeros(()), []
        tokens = self.tokens.expand(maps[0].shape[0], -1, -1)
        for place, (layers, base) in enumerate(zip(self.levels, maps, strict=True)):
            tokens, own = layers(tokens, base.flatten(1, 2))
            own = own.unflatten(2, base.shape[1:3])
            if self.updaters:
                tokens = self.updaters[place](own, tokens)
            resized = resize(own, size)
            total = resized + total if self.sum_masks else resized
            states.append((own, total, self.classify(tokens)))
        return states

    def class_masks(self, features: dict[str, Tensor]) -> Tensor:
        """Return the region of each class's token, (N, K, H, W): its mask after the last level, Eq. 3, without the
        token's class probability.

        Args:
            features: The maps of the backbone.
        """
        return at_least_single(self.decode(features)[-1][1]).sigmoid()

    def token_part(self) -> nn.Module:
        """Return the last layer of the last level, or the update after it."""
        return self.updaters[-1] if self.updaters else list(self.levels[-1].children())[-1]

    def token_maps(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every level's own mask before the sigmoid and, if masks are summed, the sum so far, for pictures.

        Args:
            features: The maps of the backbone.

        Returns:
            The maps (N, K, H_i, W_i) by title.
        """
        maps = {}
        for level, (own, total, _) in enumerate(self.decode(features), 1):
            maps[f"mask {level}"] = own
            if self.sum_masks and level > 1:
                maps[f"sum of masks 1-{level}"] = total
        return maps
