"""timm's hierarchical models (Swin, ResNet, ConvNeXt and others) as Detectron2 backbones with maps res2 to res5."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.modeling import Backbone
from timm.layers import LayerNorm2d
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor, nn

from .frozen_stages import freeze_first_parts
from .multi_grid import dilate_last_stage
from .norm import convert_batch_norm
from .timm_models import (
    TimmModel,
    architecture_args,
    backbone_args,
    blocks_of,
    check_sides,
    create,
    stem,
    takes,
    weightless,
)
from .weights import StartingWeights, note_checkpoint
from .window_padding import PadBeforeShift, WindowPadding, arrange_window_padding

_STAGES = ("res2", "res3", "res4", "res5")
_STRIDES = (4, 8, 16, 32)
_OUT_NORM_EPSILON = 1e-5  # as in Swin's official code; timm's default is 1e-6


class TimmPyramid(Backbone):
    """A hierarchical timm model that returns its stages as maps at strides 4, 8, 16 and 32, or less if dilated.

    Inputs may have any sides that are multiples of the largest stride. Swin's windows keep their size and shift in
    every stage, even if they are larger than the map. Its weights therefore have the same shapes for every input, and
    maps larger than the window equal those of a model that was created for that size.

    Stages after the last chosen one, the final norm and the head are removed, since they would get no gradient.

    Order of padding and shift: the official code of Swin, mmsegmentation, Mask2Former and transformers pad a map that
    is not a multiple of the window before they shift it; timm shifts first. Weights that were trained in one order lose
    accuracy in the other, and timm's order also lets opposite edges of the image attend to each other (see
    `window_padding.py`). The default is therefore `before_shift`. It is also correct for ImageNet weights: at their
    pretraining sizes (224 pixels with window 7, 384 with window 12) every map is a multiple of the window, and both
    orders give equal maps. `after_shift` is for weights that were trained in timm's order at other sizes.

    Multi-grid: the 3x3 convolution of block i in res5 gets the dilation `multi_grid[i] * 32 / output_stride`, as in
    Detectron2's DeepLab. At stride 32 with (1, 2, 4), the first block strides by 2 in its undilated 3x3 convolution and
    in its 1x1 shortcut; the second and third have stride 1 and dilations 2 and 4. At stride 16 no block strides, and
    the dilations are 2, 4 and 8. Detectron2's R-103, which MaskFormer calls R101c, is timm's resnet101s with (1, 2, 4)
    at stride 32. Without `multi_grid`, the first block of a dilated stage keeps the dilation of the stage before it,
    which is timm's habit and not Detectron2's.
    """

    def __init__(
        self,
        *,
        model_name: str,
        out_features: Sequence[str] = _STAGES,
        output_stride: int = 32,
        norm: str = "BN",
        freeze_at: int = 0,
        out_norm: bool = False,
        drop_path_rate: float = 0.0,
        pretrained: bool = True,
        weights_file: str = "",
        in_chans: int = 3,
        activation_checkpointing: bool = False,
        window_padding: WindowPadding | None = None,
        multi_grid: Sequence[int] | None = None,
        timm_args: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            model_name: The name of the model in timm, with the tag of its pretrained weights.
            out_features: The names of the maps to return: some of `res2`, `res3`, `res4` and `res5`.
            output_stride: The largest stride; with 8 or 16, later stages are dilated, if timm supports it.
            norm: The kind of batch norm, if the model has any: `BN`, `SyncBN` or `FrozenBN`.
            freeze_at: The number of first parts that are frozen, including their batch norms, counted as in
                Detectron2: 0 none, 1 the stem, 2 the stem and res2, up to 5.
            out_norm: Whether each map passes its own layer norm, as is usual for Swin with heads that do not normalise
                their inputs.
            drop_path_rate: The rate of stochastic depth in the last block, rising linearly from 0.
            pretrained: Whether a new training starts from timm's weights on the hub; see `load_pretrained`.
            weights_file: A file of weights to start from instead: .safetensors or .pth.
            in_chans: The number of channels of an image; pretrained stems for colours are inflated by timm's own rule.
            activation_checkpointing: Whether to recompute the blocks in the backward pass to save memory; batch norms
                then count each batch twice in their running statistics.
            window_padding: Whether Swin and Swin V2 pad a map `before_shift` or `after_shift`; see the class. None is
                `before_shift` for these two, and the only choice for models without shifted windows.
            multi_grid: The factor of the dilation for each block of a ResNet's res5, such as (1, 2, 4); see the class.
            timm_args: Extra keyword arguments for `timm.create_model`.

        Raises:
            ValueError: The model is unknown or plain, arguments do not fit it, a feature or norm is unknown, or frozen
                parts would have no pretrained weights.
        """
        super().__init__()
        self._out_features = _in_order(out_features)
        self.pretrained = pretrained or bool(weights_file)
        args = backbone_args(model_name, in_chans, timm_args)
        self._timm_args = _complete(args, output_stride, drop_path_rate)
        self.starting_weights = StartingWeights(timm_args=self._timm_args, weights_file=weights_file)
        self.register_load_state_dict_pre_hook(note_checkpoint)
        trunk = create(**self._timm_args)
        self._indices = self._publish(trunk, output_stride)
        self._window_padding = arrange_window_padding(trunk, window_padding)
        self._set_multi_grid(trunk, multi_grid, output_stride)
        trunk.prune_intermediate_layers(self._indices, prune_norm=True, prune_head=True)
        trunk.set_grad_checkpointing(activation_checkpointing)
        self.trunk = convert_batch_norm(trunk, norm)
        freeze_first_parts(self.trunk, freeze_at, pretrained=self.pretrained)
        norms = {name: LayerNorm2d(n, eps=_OUT_NORM_EPSILON) for name, n in self._out_feature_channels.items()}
        self.out_norms = nn.ModuleDict(norms if out_norm else {})

    def _set_multi_grid(self, trunk: TimmModel, multi_grid: Sequence[int] | None, output_stride: int) -> None:
        self._multi_grid = None if multi_grid is None else list(multi_grid)
        if multi_grid is None:
            return
        if "res5" not in self._out_features:
            raise ValueError(f"multi_grid is for res5, but out_features are {self._out_features}")
        dilate_last_stage(trunk, [factor * _STRIDES[-1] // output_stride for factor in multi_grid])

    def _publish(self, trunk: TimmModel, output_stride: int) -> list[int]:
        """Store channels and strides, and return the indices of the chosen maps among timm's.

        The stages are timm's last four maps; some models have a further map, that of the stem, before them.
        """
        wanted = [min(stride, output_stride) for stride in _STRIDES]
        found = [info["reduction"] for info in trunk.feature_info]
        if found[-4:] != wanted:
            raise ValueError(
                f"{self._timm_args['model_name']} gives maps at strides {found}; wanted a hierarchical model with the "
                f"last four at {wanted} (output_stride is 8, 16 or 32; use PlainViT for plain models)"
            )
        levels = {name: len(found) - 4 + _STAGES.index(name) for name in self._out_features}
        self._out_feature_channels = {name: trunk.feature_info[level]["num_chs"] for name, level in levels.items()}
        self._out_feature_strides = {name: found[level] for name, level in levels.items()}
        return list(levels.values())

    @property
    def size_divisibility(self) -> int:
        return max(self._out_feature_strides.values())

    @property
    def window_span(self) -> int:
        """The side in pixels of the largest window at the coarsest stage, or 0; see `AttendsInWindows`."""
        kinds = (SwinTransformerBlock, SwinTransformerV2Block, PadBeforeShift)
        sides = [max(block.window_size) for block in self.trunk.modules() if isinstance(block, kinds)]
        return max(sides, default=0) * _STRIDES[-1]

    def load_pretrained(self) -> None:
        """Load pretrained weights; called when a new training starts.

        Raises:
            ValueError: See `load_timm_weights`.
        """
        self.starting_weights.load(self.trunk)

    def shardable_blocks(self) -> list[nn.Module]:
        """Return the blocks of all stages; see `ShardsInBlocks`."""
        return blocks_of(self.trunk)

    def facts(self) -> dict[str, Any]:
        """Return the settings that the weights do not determine; see `ExportableBackbone`."""
        return dict(
            model_name=self._timm_args["model_name"],
            timm_args=architecture_args(self._timm_args),
            stem=stem(self.trunk),
            output_stride=self._timm_args.get("output_stride", _STRIDES[-1]),
            multi_grid=self._multi_grid,
            window_padding=self._window_padding,
            out_norm=bool(self.out_norms),
        )

    def fitted(self, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weights of another such backbone unchanged, since their shapes are the same for every input."""
        return dict(weights)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: The images (N, in_chans, H, W), whose sides are multiples of `size_divisibility`.

        Returns:
            The maps `res<i>` (N, C_i, H / stride_i, W / stride_i).

        Raises:
            ValueError: The size of the images is wrong, or training starts from random instead of pretrained weights.
        """
        if self.pretrained and self.training and torch.is_grad_enabled():
            self.starting_weights.check()
        check_sides(images, self.size_divisibility)
        maps = self.trunk.forward_intermediates(images, indices=self._indices, intermediates_only=True)
        features = dict(zip(self._out_features, maps, strict=True))
        return {name: self.out_norms[name](x) if self.out_norms else x for name, x in features.items()}


def _in_order(out_features: Sequence[str]) -> list[str]:
    if not out_features or not set(out_features) <= set(_STAGES):
        raise ValueError(f"out_features are {list(out_features)}; wanted some of {', '.join(_STAGES)}")
    return [name for name in _STAGES if name in out_features]


def _complete(args: dict[str, Any], output_stride: int, drop_path_rate: float) -> dict[str, Any]:
    """Add to the arguments of a timm model those that make it a backbone for inputs of any size."""
    whole = weightless(**args)
    # Without `always_partition`, Swin drops the shift in every stage that fits into a window at the model's own size.
    completed = args | {name: True for name in ("dynamic_img_size", "always_partition") if takes(whole, name)}
    if output_stride != _STRIDES[-1]:
        completed["output_stride"] = output_stride
    if drop_path_rate or takes(whole, "drop_path_rate"):
        completed["drop_path_rate"] = drop_path_rate
    return completed
