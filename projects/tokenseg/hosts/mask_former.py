"""MaskFormer's head: queries that attend to the backbone's coarsest map.

Paper: Cheng et al.: Per-Pixel Classification is Not All You Need for Semantic Segmentation (NeurIPS 2021), section 3.3.
As in the released models for semantic segmentation, there is no transformer encoder, and each of the six decoder layers
makes a prediction. Letters: N images, Q queries, K classes, C channels, L cells of the coarsest map.
"""

from collections.abc import Sequence

import torch
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from ..d2_compat import refuse_yacs
from ..layers.embedded_masks import EmbeddedMasks
from ..layers.point_conv import PointConv2d, zero_bias
from .mask_classifier import MaskClassifierHead, MaskCriterion, check_stages
from .pixel_decoders import FPNPixelDecoder
from .query_decoder import QueryLayer, QueryOutputs, sine_positions


class MaskFormerDecoder(nn.Module):
    """Queries that attend to one another and then to the map, in every layer."""

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        num_queries: int = 100,
        width: int = 256,
        mask_channels: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        hidden: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        """
        Args:
            channels: The number of channels of the map.
            num_classes: The number of classes K.
            num_queries: The number of queries Q.
            width: The number of channels C of the queries, a multiple of 4.
            mask_channels: The number of channels of the mask features.
            num_layers: The number of layers.
            num_heads: The number of heads of each attention.
            hidden: The number of channels within the feed-forward networks.
            dropout: The dropout rate of all layers; see `QueryLayer`.
        """
        super().__init__()
        self.project = PointConv2d(channels, width)
        nn.init.kaiming_uniform_(self.project.weight, a=1)
        zero_bias(self.project)
        self.query_positions = nn.Parameter(torch.randn(num_queries, width))
        self.layers = nn.ModuleList(
            QueryLayer(width=width, num_heads=num_heads, hidden=hidden, dropout=dropout, cross_first=False)
            for _ in range(num_layers)
        )
        self.outputs = QueryOutputs(width=width, num_classes=num_classes, mask_channels=mask_channels)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters without weight decay, by timm's convention."""
        return {"query_positions"}

    def forward(self, maps: Sequence[Tensor], mask_features: Tensor) -> list[EmbeddedMasks]:
        """
        Args:
            maps: The coarsest map (N, channels, H_i, W_i), as the only element.
            mask_features: The map (N, mask_channels, H_1, W_1) whose product with the mask embeddings is the masks.

        Returns:
            The predictions after every layer.
        """
        (coarsest,) = maps
        values = self.project(coarsest).flatten(2).transpose(1, 2).contiguous()
        places = sine_positions(tuple(coarsest.shape[-2:]), values.shape[2], values.device)
        keys = values + places.to(values.dtype)
        states, predictions = torch.zeros_like(self.query_positions).expand(values.shape[0], -1, -1), []
        for layer in self.layers:
            states = layer(states, self.query_positions, keys, values)
            predictions.append(self.outputs(states, mask_features))
        return predictions


@SEM_SEG_HEADS_REGISTRY.register()
class MaskFormerHead(MaskClassifierHead):
    """MaskFormer's pixel decoder and transformer decoder, with a loss on all stages."""

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
        num_layers: int = 6,
        num_heads: int = 8,
        hidden: int = 2048,
        dropout: float = 0.1,
        stride: int = 4,
        score_stride: int = 1,
    ) -> None:
        """
        Args:
            channels: The number of channels of each map.
            num_classes: The number of classes K.
            criterion: The loss, a `MaskLoss` with a `HungarianAssigner`.
            in_features: The names of the backbone's maps, from the finest to the coarsest; two or more.
            num_queries: The number of queries Q.
            width: The number of channels of both decoders, a multiple of 32.
            num_layers: The number of layers of the transformer decoder.
            num_heads: The number of heads of the transformer decoder's attentions.
            hidden: The number of channels within the transformer decoder's feed-forward networks.
            dropout: The dropout rate of the transformer decoder; see `QueryLayer`.
            stride: The stride of the finest map, in pixels.
            score_stride: The stride of the scores, in pixels; see `MaskClassifierHead`.

        Raises:
            ValueError: There are fewer than two maps, or `channels` and `in_features` differ in length.
        """
        check_stages(in_features, channels, least=2)
        super().__init__(
            in_features=in_features,
            pixel_decoder=FPNPixelDecoder(channels=channels, width=width, mask_channels=width),
            query_decoder=MaskFormerDecoder(
                channels=channels[-1],
                num_classes=num_classes,
                num_queries=num_queries,
                width=width,
                mask_channels=width,
                num_layers=num_layers,
                num_heads=num_heads,
                hidden=hidden,
                dropout=dropout,
            ),
            criterion=criterion,
            stride=stride,
            score_stride=score_stride,
        )
