"""Backbones without weights, for baselines that see only the colour of a pixel or only its position."""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor


class RawPixels(Backbone):
    """The normalised image itself, as the feature `pixels` at stride 1."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"pixels": ShapeSpec(channels=3, stride=1)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the images (N, 3, H, W) unchanged."""
        return {"pixels": images}


class PixelPositions(Backbone):
    """Sines and cosines of each pixel's position, whatever the image shows, as the feature `positions` at stride 1."""

    def __init__(self, *, num_frequencies: int = 6) -> None:
        """
        Args:
            num_frequencies: The number of frequencies per axis; frequency i has 2**i / 2 periods over the image.
        """
        super().__init__()
        self.num_frequencies = num_frequencies

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"positions": ShapeSpec(channels=4 * self.num_frequencies, stride=1)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute codes (N, 4 * num_frequencies, H, W) for images (N, 3, H, W)."""
        count, _, height, width = images.shape
        y, x = (torch.linspace(0, 1, side, device=images.device) for side in (height, width))
        frequencies = torch.pi * 2.0 ** torch.arange(self.num_frequencies, device=images.device)
        angles = torch.stack(torch.meshgrid(y, x, indexing="ij"))[None] * frequencies[:, None, None, None]
        codes = torch.cat([angles.sin(), angles.cos()]).flatten(0, 1)  # (2 * frequencies * axes, H, W)
        return {"positions": codes.expand(count, -1, -1, -1)}
