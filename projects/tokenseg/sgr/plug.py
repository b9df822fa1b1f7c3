"""A wrapper that inserts components between any Detectron2 backbone and its head or detector."""

import math
from collections.abc import Mapping
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

# The name under which the regions of a map are returned.
REGIONS = "{}_regions"


class ReasoningBackbone(Backbone):
    """A backbone that passes chosen maps through a component: `SemanticReasoning`, `GloRe`, or your own.

    Maps keep their names, shapes and strides, so heads need no changes. The regions of map `m` are returned as
    `m_regions` for losses, metrics and pictures; they are not part of `output_shape`.
    """

    def __init__(self, *, backbone: Backbone, components: Mapping[str, nn.Module]) -> None:
        """
        Args:
            backbone: Any Detectron2 backbone.
            components: The component of each map, by the map's name. A component turns (N, C, H, W) into an enhanced
                map and regions (N, K, H, W); its `region_weights` turns these into non-negative weights.

        Raises:
            ValueError: There is no component, or one for a map that the backbone does not have.
        """
        super().__init__()
        known = backbone.output_shape()
        if not components or not set(components) <= set(known):
            raise ValueError(
                f"components are for the maps {list(components)}; wanted some of the backbone's, {', '.join(known)}"
            )
        self.backbone = backbone
        self.components = nn.ModuleDict(components)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self.backbone.output_shape()

    @property
    def size_divisibility(self) -> int:
        """LCM of the backbone's divisibility and the strides of the wrapped maps, so that cells have equal sizes."""
        shapes = self.backbone.output_shape()
        strides = [shapes[name].stride or 1 for name in self.components]
        return math.lcm(max(self.backbone.size_divisibility, 1), *strides)

    @property
    def padding_constraints(self) -> dict[str, int]:
        return getattr(self.backbone, "padding_constraints", {})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (N, 3, H, W).

        Returns:
            The enhanced maps of the backbone, and `<name>_regions` (N, K, h, w) of each component.
        """
        features = dict(self.backbone(images))
        for name, component in self.components.items():
            features[name], features[REGIONS.format(name)] = component(features[name])
        return features

    def region_weights(self, features: dict[str, Tensor]) -> Tensor:
        """Return how strongly each cell belongs to each region of the last component, 0 or more, (N, K, h, w).

        Args:
            features: The maps that `forward` returned.
        """
        components: list[tuple[str, Any]] = list(self.components.items())
        name, component = components[-1]
        return component.region_weights(features[REGIONS.format(name)])
