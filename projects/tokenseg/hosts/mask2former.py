"""Mask2Former's head: queries attend to the regions of their own masks, on three maps in turn.

Paper: Cheng et al.: Masked-attention Mask Transformer for Universal Image Segmentation (CVPR 2022), section 3.2. As in
the released models, there are nine layers and ten predictions, the first before any layer. Letters: N images, Q
queries, K classes, C channels, L cells of a map.
"""

from collections.abc import Sequence

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..d2_compat import refuse_yacs
from ..layers.embedded_masks import EmbeddedMasks, embedded_masks
from ..layers.resize import resize
from .mask_classifier import MaskClassifierHead, MaskCriterion, check_stages
from .pixel_decoders import DeformablePixelDecoder
from .query_decoder import QueryLayer, QueryOutputs, sine_positions


class Mask2FormerDecoder(nn.Module):
    """Queries that attend to one map, to one another, then to the next map, the coarsest first."""

    def __init__(
        self,
        *,
        num_classes: int,
        num_queries: int = 100,
        width: int = 256,
        mask_channels: int = 256,
        num_levels: int = 3,
        num_layers: int = 9,
        num_heads: int = 8,
        hidden: int = 2048,
        dropout: float = 0.0,
    ) -> None:
        """
        Args:
            num_classes: The number of classes K.
            num_queries: The number of queries Q.
            width: The number of channels C of the queries and of the maps they attend to, a multiple of 4.
            mask_channels: The number of channels of the mask features.
            num_levels: The number of maps that the queries attend to.
            num_layers: The number of layers; layer i attends to map i modulo `num_levels`.
            num_heads: The number of heads of each attention.
            hidden: The number of channels within the feed-forward networks.
            dropout: The dropout rate of all layers; see `QueryLayer`.
        """
        super().__init__()
        self.query_states = nn.Parameter(torch.randn(num_queries, width))
        self.query_positions = nn.Parameter(torch.randn(num_queries, width))
        self.level_embeddings = nn.Parameter(torch.randn(num_levels, width))
        self.layers = nn.ModuleList(
            QueryLayer(width=width, num_heads=num_heads, hidden=hidden, dropout=dropout, cross_first=True)
            for _ in range(num_layers)
        )
        self.outputs = QueryOutputs(width=width, num_classes=num_classes, mask_channels=mask_channels)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters without weight decay, by timm's convention."""
        return {"query_states", "query_positions", "level_embeddings"}

    def forward(self, maps: Sequence[Tensor], mask_features: Tensor) -> list[EmbeddedMasks]:
        """
        Args:
            maps: The maps (N, C, H_i, W_i) of the pixel decoder, from the coarsest to the finest.
            mask_features: The map (N, mask_channels, H_1, W_1) whose product with the mask embeddings is the masks.

        Returns:
            The predictions before the first layer and after every layer.
        """
        memories = [self._memory(x, embedding) for x, embedding in zip(maps, self.level_embeddings, strict=True)]
        # Resizing commutes with the product, so resizing the features once replaces resizing the masks of every layer.
        small = [resize(mask_features.detach(), x.shape[-2:]) for x in maps]
        states = self.query_states.expand(mask_features.shape[0], -1, -1)
        predictions = [self.outputs(states, mask_features)]
        for place, layer in enumerate(self.layers):
            level = place % len(maps)
            allowed = _own_region(predictions[-1].embeddings, small[level])
            states = layer(states, self.query_positions, *memories[level], allowed=allowed)
            predictions.append(self.outputs(states, mask_features))
        return predictions

    def _memory(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Compute keys and values, (N, L, C) each, of a map (N, C, H, W)."""
        values = x.flatten(2).transpose(1, 2) + embedding
        return values + sine_positions(tuple(x.shape[-2:]), values.shape[2], x.device).to(values.dtype), values


@torch.no_grad()
def _own_region(embeddings: Tensor, features: Tensor) -> Tensor:
    """Find the cells inside a query's own mask, (N, Q, L) bool; all cells if the mask is empty."""
    inside = embedded_masks(embeddings, features).flatten(2) >= 0
    return inside | ~inside.any(dim=2, keepdim=True)


@SEM_SEG_HEADS_REGISTRY.register()
class Mask2FormerHead(MaskClassifierHead):
    """Mask2Former's pixel decoder and transformer decoder, with a loss on all stages."""

    @refuse_yacs
    def __init__(
        self,
        *,
        channels: Sequence[int],
        num_classes: int,
        criterion: MaskCriterion,
        in_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        num_queries: int = 100,
        width: int = 256,
        num_encoder_layers: int = 6,
        num_layers: int = 9,
        num_heads: int = 8,
        encoder_hidden: int = 1024,
        hidden: int = 2048,
        sampling: str = "embedding_bag",
        stride: int = 4,
        score_stride: int = 1,
    ) -> None:
        """
        Args:
            channels: The number of channels of each map.
            num_classes: The number of classes K.
            criterion: The loss, a `PointMaskLoss`.
            in_features: The names of the backbone's maps, from the finest to the coarsest; two or more.
            num_queries: The number of queries Q.
            width: The number of channels of both decoders, a multiple of 32.
            num_encoder_layers: The number of layers of the pixel decoder.
            num_layers: The number of layers of the transformer decoder.
            num_heads: The number of heads of all attentions.
            encoder_hidden: The number of channels within the pixel decoder's feed-forward networks.
            hidden: The number of channels within the transformer decoder's feed-forward networks.
            sampling: The implementation of deformable sampling; see `DeformableAttention`.
            stride: The stride of the finest map, in pixels.
            score_stride: The stride of the scores, in pixels; see `MaskClassifierHead`.

        Raises:
            ValueError: There are fewer than two maps, or `channels` and `in_features` differ in length.
        """
        check_stages(in_features, channels, least=2)
        common = {"width": width, "mask_channels": width, "num_heads": num_heads}
        super().__init__(
            in_features=in_features,
            pixel_decoder=DeformablePixelDecoder(
                channels=channels, num_layers=num_encoder_layers, hidden=encoder_hidden, sampling=sampling, **common
            ),
            query_decoder=Mask2FormerDecoder(
                num_classes=num_classes,
                num_queries=num_queries,
                num_levels=len(in_features) - 1,
                num_layers=num_layers,
                hidden=hidden,
                **common,
            ),
            criterion=criterion,
            stride=stride,
            score_stride=score_stride,
        )
