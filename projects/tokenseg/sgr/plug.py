"""A component between any Detectron2 backbone and whatever follows."""

import math
from collections.abc import Mapping
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

# What a map's regions are called beside it.
REGIONS = "{}_regions"


class ReasoningBackbone(Backbone):
    """A backbone whose maps, or some of them, pass a component each: `SemanticReasoning`, `GloRe`, or one of your own.

    Maps keep names, shapes and strides, so what follows need not know. The regions of map `m` lie beside it as
    `m_regions`, outside `output_shape`, for losses, metrics and pictures.
    """

    def __init__(self, *, backbone: Backbone, components: Mapping[str, nn.Module]) -> None:
        """
        Args:
            backbone: Any Detectron2 backbone.
            components: By the name of their map: (N, C, H, W) to that shape and regions (N, K, H, W), with
                `region_weights`, which turns these into weights of 0 or more.

        Raises:
            ValueError: No component, or one for a map that the backbone does not have.
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
        """The backbone's, and the strides of the maps with components: so a cell of theirs has one size in pixels."""
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
            The backbone's maps, enhanced, and `<name>_regions` (N, K, h, w) of each component.
        """
        features = dict(self.backbone(images))
        for name, component in self.components.items():
            features[name], features[REGIONS.format(name)] = component(features[name])
        return features

    def region_weights(self, features: dict[str, Tensor]) -> Tensor:
        """How much each cell belongs to each region of the last component, 0 or more: (N, K, h, w).

        Args:
            features: The maps that `forward` returned.
        """
        components: list[tuple[str, Any]] = list(self.components.items())
        name, component = components[-1]
        return component.region_weights(features[REGIONS.format(name)])
