"""timm's plain vision transformers as Detectron2 backbones: maps of chosen blocks, at any input size."""

from collections.abc import Mapping, Sequence

import timm
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor


class PlainViT(Backbone):
    """Outputs of chosen blocks of a timm vision transformer, as maps at the stride of its patches.

    The class token, where there is one, takes part in the attention and is dropped from the output; there is no final
    norm (unused, it would get no gradient). Position codes are made at `img_size` and resampled for other inputs.
    """

    def __init__(
        self,
        *,
        model_name: str,
        img_size: int,
        out_blocks: Sequence[int],
        drop_path_rate: float = 0.0,
        pretrained: bool = True,
        activation_checkpointing: bool = False,
        timm_args: Mapping[str, object] | None = None,
    ) -> None:
        """
        Args:
            model_name: timm's name, with the tag of the pretrained weights.
            img_size: side in pixels of the square input whose position codes are the parameters; the training crop.
            out_blocks: blocks, counted from 0, whose outputs are the features `block0`, `block1`, ... by number.
            drop_path_rate: stochastic depth of the last block, rising linearly from 0.
            pretrained: whether a fresh training begins from timm's weights (see `load_pretrained`).
            activation_checkpointing: recompute the blocks in the backward pass to save memory.
            timm_args: further arguments of the timm model, such as `patch_size`.

        Raises:
            ValueError: an unknown model name, or a block the model does not have.
        """
        super().__init__()
        if not timm.is_model(model_name):
            near = timm.list_models(f"*{model_name.split('.')[0]}*")[:5]
            raise ValueError(f"timm has no model '{model_name}'" + (f"; near names: {', '.join(near)}" if near else ""))
        self._create_args = dict(
            model_name=model_name,
            img_size=img_size,
            dynamic_img_size=True,
            num_classes=0,
            global_pool="",
            **(timm_args or {}),
        )
        self.pretrained = pretrained
        self.vit = timm.create_model(**self._create_args, drop_path_rate=drop_path_rate)
        depth = len(self.vit.blocks)
        if not out_blocks or not all(0 <= block < depth for block in out_blocks):
            raise ValueError(f"out_blocks are {list(out_blocks)}; {model_name} has the blocks 0 to {depth - 1}")
        self._out_blocks = sorted(out_blocks)
        self.vit.prune_intermediate_layers(self._out_blocks, prune_norm=True, prune_head=True)
        self.vit.set_grad_checkpointing(activation_checkpointing)

        stride = self.vit.patch_embed.patch_size[0]
        self._out_features = [f"block{block}" for block in self._out_blocks]
        self._out_feature_channels = dict.fromkeys(self._out_features, self.vit.embed_dim)
        self._out_feature_strides = dict.fromkeys(self._out_features, stride)

    @property
    def size_divisibility(self) -> int:
        return self.vit.patch_embed.patch_size[0]

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }

    def load_pretrained(self) -> None:
        """Take over timm's weights, position codes resampled to `img_size`; called when a training starts afresh."""
        source = timm.create_model(**self._create_args, pretrained=True)
        source.prune_intermediate_layers(self._out_blocks, prune_norm=True, prune_head=True)
        self.vit.load_state_dict(source.state_dict())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: (N, 3, H, W), both sides multiples of the patch.

        Returns:
            `block<i>`: (N, C, H / patch, W / patch), in channels-last memory order.
        """
        maps = self.vit.forward_intermediates(images, indices=self._out_blocks, intermediates_only=True)
        return dict(zip(self._out_features, maps, strict=True))
