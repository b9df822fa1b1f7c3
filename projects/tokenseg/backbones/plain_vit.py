"""timm's plain vision transformers as Detectron2 backbones that return maps of chosen blocks, at any input size."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from detectron2.modeling import Backbone
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .sine_codes import set_position_codes
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
from .weights import StartingWeights, note_checkpoint, resampled
from .windowed_block import WindowedBlock


class Downsample(Protocol):
    """A module that runs in place of a block and halves the grid of the patches.

    Attributes:
        block: The index of that block, from 0.
    """

    block: int

    def __call__(self, block: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute the tokens of half the grid from tokens (N, T, C), the last of which are the patches of `grid`."""


class PlainViT(Backbone):
    """A timm vision transformer that returns the outputs of chosen blocks, as maps at the stride of its patches.

    ViT, DeiT, CLIP, DINOv2, DINOv3, EVA-02 and similar models take inputs of any multiple of the patch size: position
    codes are created for `img_size` and resampled for other inputs, while rotary codes are computed. BEiT only takes
    squares of `img_size`, since its attention has a table of relative positions for that size; use a sliding window.

    Class token and registers, if present, take part in the attention and are dropped from the output. Everything after
    the last chosen block is removed, including the final norm, since unused parameters would get no gradient.

    With `out_strides` the maps are resampled bilinearly, for heads that expect the maps of a hierarchical model.

    With `window_size` all blocks except `global_blocks` attend within windows. For an image of 1024 x 1024 pixels,
    windows of 14 and four global blocks, this reduces the attention of a ViT-B from 618 to 230 GFLOPs, and the whole
    backbone from 1319 to 961. The names and shapes of the weights do not change; see `WindowedBlock`.
    """

    def __init__(
        self,
        *,
        model_name: str,
        img_size: int,
        out_blocks: Sequence[int],
        out_strides: Sequence[int] | None = None,
        drop_path_rate: float = 0.0,
        pretrained: bool = True,
        weights_file: str = "",
        in_chans: int = 3,
        activation_checkpointing: bool = False,
        downsample: Downsample | None = None,
        position_codes: str = "learnt",
        window_size: int | None = None,
        global_blocks: Sequence[int] = (),
        timm_args: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            model_name: The name of the model in timm, with the tag of its pretrained weights.
            img_size: The side in pixels of the square training crop, for which position codes are created.
            out_blocks: The indices, from 0, of the blocks whose outputs are the features `block0`, `block1`, and so on.
            out_strides: The strides of these features in pixels, in ascending order of the blocks; by default the patch
                size. Each must divide the patch size or be a multiple of it.
            drop_path_rate: The rate of stochastic depth in the last block, rising linearly from 0.
            pretrained: Whether a new training starts from timm's weights on the hub; see `load_pretrained`.
            weights_file: A file of weights to start from instead: .safetensors, .pth, or for a ViT Google's .npz.
            in_chans: The number of channels of an image; timm's own rule adapts pretrained stems for colour images.
            activation_checkpointing: Whether to recompute the blocks in the backward pass to save memory.
            downsample: A module that runs in place of one block and halves the grid, for ViT and DINOv2 only; see
                `Downsample`.
            position_codes: `learnt` for the timm model's own, or `sine` for fixed ones in a ViT without a class token.
            window_size: The side in patches of the windows of attention, for ViT and DINOv2 only; None for no windows.
            global_blocks: The indices of the blocks that still attend to the whole map.
            timm_args: Extra keyword arguments for `timm.create_model`, such as `patch_size` or `class_token`.

        Raises:
            ValueError: The model is unknown or hierarchical, or arguments, blocks or parts do not fit it.
        """
        super().__init__()
        # Without this, most models would pool the class token, which `timm_args` may remove.
        args = dict(global_pool="") | backbone_args(model_name, in_chans, timm_args)
        whole = weightless(**args)
        self._patch = _patch_of(whole, model_name, out_blocks)
        self._fixed_size = None if takes(whole, "dynamic_img_size") else img_size
        args |= {"img_size": img_size} | ({"dynamic_img_size": True} if self._fixed_size is None else {})
        self.pretrained = pretrained or bool(weights_file)
        self.starting_weights = StartingWeights(timm_args=args, weights_file=weights_file)
        self.register_load_state_dict_pre_hook(note_checkpoint)
        self._timm_args, self._out_blocks = args, sorted(out_blocks)
        self.vit = create(**args, drop_path_rate=drop_path_rate)
        self.vit.prune_intermediate_layers(self._out_blocks, prune_norm=True, prune_head=True)
        self.vit.set_grad_checkpointing(activation_checkpointing)
        set_position_codes(self.vit, position_codes)
        self.downsample = downsample
        self._publish(out_strides)
        self._set_windows(window_size, global_blocks)
        self.vit.blocks[0].register_forward_pre_hook(_tokens_contiguous)

    def _publish(self, out_strides: Sequence[int] | None) -> None:
        """Set the names, channels and strides of the maps, and the divisor of input sides."""
        self._out_features = [f"block{block}" for block in self._out_blocks]
        self._out_feature_channels = dict.fromkeys(self._out_features, self.vit.embed_dim)
        self._out_feature_strides = self._strides(out_strides)
        self._divisor = math.lcm(self._patch, *self._out_feature_strides.values())
        if self.downsample is not None:
            self._check_downsample(self.downsample.block, out_strides)
            shrunk = [f"block{block}" for block in self._out_blocks if block >= self.downsample.block]
            self._out_feature_strides |= dict.fromkeys(shrunk, 2 * self._patch)

    def _strides(self, out_strides: Sequence[int] | None) -> dict[str, int]:
        count, patch = len(self._out_features), self._patch
        wanted = [patch] * count if out_strides is None else list(out_strides)
        fits = [stride > 0 and not (patch % stride and stride % patch) for stride in wanted]
        if len(wanted) != count or not all(fits) or any((self._fixed_size or 0) % stride for stride in wanted):
            raise ValueError(
                f"out_strides are {wanted}; wanted {count}, one for each of out_blocks, that divide the patch of "
                f"{patch} pixels or are multiples of it (and divide img_size if the model takes no other size)"
            )
        return dict(zip(self._out_features, wanted, strict=True))

    def _check_downsample(self, block: int, out_strides: Sequence[int] | None) -> None:
        if not 1 <= block <= self._out_blocks[-1]:
            raise ValueError(f"downsample.block is {block}; wanted 1 to {self._out_blocks[-1]}, the last of out_blocks")
        self._check_kind(self.vit.blocks[block], "downsample")
        if out_strides is not None:
            raise ValueError("downsample sets the strides; wanted no out_strides together with it")

    def _set_windows(self, window_size: int | None, global_blocks: Sequence[int]) -> None:
        last = len(self.vit.blocks) - 1
        if not all(0 <= block <= last for block in global_blocks):
            raise ValueError(f"global_blocks are {list(global_blocks)}; wanted blocks from 0 to the last used, {last}")
        self._has_windows = window_size is not None
        if window_size is None:
            return
        if window_size < 1:
            raise ValueError(f"window_size is {window_size}; wanted 1 patch or more, or None for no windows")
        if self.downsample is not None:
            raise ValueError("downsample changes the grid of the patches; wanted no window_size together with it")
        for place, block in enumerate(self.vit.blocks):
            if place not in global_blocks:
                self._check_kind(block, "window_size")
                self.vit.blocks[place] = WindowedBlock(block, window_size)

    def _check_kind(self, block: nn.Module, argument: str) -> None:
        # The exact type is compared, since a subclass may compute something else. EVA-02 and DINOv3 rotate queries and
        # keys by positions on the whole map, and BEiT has a table of positions for a single size.
        parts = [(block, Block)] if type(block) is not Block else [(block.attn, Attention)]
        for part, wanted in parts:
            if type(part) is not wanted:
                names = [f"{kind.__module__}.{kind.__qualname__}" for kind in (type(part), wanted)]
                raise ValueError(
                    f"{argument} needs {names[1]}, as in ViT and DINOv2; {self._timm_args['model_name']} has {names[0]}"
                )

    @property
    def size_divisibility(self) -> int:
        return self._fixed_size or self._divisor

    def load_pretrained(self) -> None:
        """Load pretrained weights, resampled to this input and patch size; called when a new training starts.

        Raises:
            ValueError: See `load_timm_weights`.
        """
        self.starting_weights.load(self.vit)

    def shardable_blocks(self) -> list[nn.Module]:
        """Return the blocks, except one that `downsample` replaces by calling its layers; see `ShardsInBlocks`."""
        blocks = blocks_of(self.vit)
        return [block for place, block in enumerate(blocks) if not self._is_downsampled(place)]

    def _is_downsampled(self, place: int) -> bool:
        return self.downsample is not None and self.downsample.block == place

    def facts(self) -> dict[str, Any]:
        """Return the settings that the weights do not determine; see `ExportableBackbone`.

        Windows are left out, since ViTDet's are meant to be added to weights that were trained without them.
        """
        halving = self.downsample
        return dict(
            model_name=self._timm_args["model_name"],
            timm_args=architecture_args(self._timm_args),
            stem=stem(self.vit),
            output_stride=self._patch,
            patch=self._patch,
            img_size=self._timm_args["img_size"],
            class_token="cls_token" in dict(self.vit.named_parameters()),
            prefix_tokens=getattr(self.vit, "num_prefix_tokens", 0),
            downsample=None if halving is None else f"{type(halving).__name__} in block {halving.block}",
        )

    def fitted(self, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weights of another such backbone, with position codes resampled to this one's `img_size`."""
        if facts["img_size"] == self._timm_args["img_size"]:
            return dict(weights)
        inside = {name.removeprefix("vit."): value for name, value in weights.items() if name.startswith("vit.")}
        return {**weights, **{f"vit.{name}": value for name, value in resampled(inside, self._timm_args).items()}}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """
        Args:
            images: The images (N, in_chans, H, W), whose sides are multiples of `size_divisibility`.

        Returns:
            The maps `block<i>` (N, C, H / stride_i, W / stride_i), with sizes rounded up after `downsample`.

        Raises:
            ValueError: The size of the images is wrong, or training starts from random instead of pretrained weights.
        """
        if self.pretrained and self.training and torch.is_grad_enabled():
            self.starting_weights.check()
        if self._fixed_size and images.shape[-2:] != (self._fixed_size, self._fixed_size):
            height, width = images.shape[-2:]
            raise ValueError(
                f"the input has {height}x{width} pixels; this model only takes {self._fixed_size}x{self._fixed_size}: "
                f"crop to that size in training, and predict with SlidingWindow(window={self._fixed_size})"
            )
        check_sides(images, self.size_divisibility)
        if self.downsample is not None:
            return self._downsampled_maps(images, self.downsample)
        if self._has_windows:
            return self._windowed_maps(images)
        # Tokens are channels-last maps when viewed as such, without a copy; timm's own maps would be copied.
        found = self.vit.forward_intermediates(
            images, indices=self._out_blocks, output_fmt="NLC", intermediates_only=True
        )
        grid = self._grid(images)
        maps = (tokens.transpose(1, 2).unflatten(2, grid) for tokens in found)
        return {name: self._resample(x, name) for name, x in zip(self._out_features, maps, strict=True)}

    def _resample(self, x: Tensor, name: str) -> Tensor:
        stride = self._out_feature_strides[name]
        if stride == self._patch:
            return x
        return F.interpolate(x, scale_factor=self._patch / stride, mode="bilinear", align_corners=False)

    def _downsampled_maps(self, images: Tensor, downsample: Downsample) -> dict[str, Tensor]:
        """Compute the maps of the chosen blocks: timm runs the blocks before `downsample`, the others run here."""
        first = downsample.block
        early = sorted({first - 1, *(block for block in self._out_blocks if block < first)})
        found, grid = self._tokens_after(early, images)
        maps = {block: self._to_map(tokens, grid) for block, tokens in zip(early, found, strict=True)}

        tokens = self._run(downsample, self.vit.blocks[first], found[-1], grid)
        grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
        maps[first] = self._to_map(tokens, grid)
        for place, block in enumerate(self.vit.blocks[first + 1 :], first + 1):
            tokens = self._run(block, tokens)
            maps[place] = self._to_map(tokens, grid)
        return {f"block{block}": maps[block] for block in self._out_blocks}

    def _windowed_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the maps of the chosen blocks with windows: timm embeds the images, the blocks run here."""
        # If block 0 has windows, it returns its input here, since timm calls it without a grid; it then runs below.
        (tokens,), grid = self._tokens_after([0], images)
        maps = {}
        for place, block in enumerate(self.vit.blocks):
            if isinstance(block, WindowedBlock):
                tokens = self._run(block, tokens, grid)
            elif place:
                tokens = self._run(block, tokens)
            maps[f"block{place}"] = self._to_map(tokens, grid)
        return {name: self._resample(maps[name], name) for name in self._out_features}

    def _tokens_after(self, blocks: list[int], images: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Run timm's code and return all tokens (N, T, C) after each of these blocks, and the grid of the patches."""
        found = self.vit.forward_intermediates(
            images,
            indices=blocks,
            return_prefix_tokens=True,
            output_fmt="NLC",
            intermediates_only=True,
            stop_early=True,
        )
        if self.vit.num_prefix_tokens:  # timm returns them separately
            found = [torch.cat([prefix, patches], dim=1) for patches, prefix in found]
        return found, self._grid(images)

    def _grid(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[-2:]
        return height // self._patch, width // self._patch

    def _run(self, module: Callable[..., Tensor], *inputs: object) -> Tensor:
        return checkpoint(module, *inputs, use_reentrant=False) if self.vit.grad_checkpointing else module(*inputs)

    def _to_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches among the tokens (N, T, C) as a map (N, C, *grid), without a copy."""
        return tokens[:, self.vit.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid)


def _tokens_contiguous(_: nn.Module, inputs: tuple) -> tuple:
    """Make the tokens among the inputs of the first block contiguous.

    The patch embedding is a convolution, after which the channels of a token are not adjacent in memory. Concatenating
    the class token happens to copy them into order. In a model without a class token, the order would persist through
    all residual connections, and every norm would copy its input.
    """
    tokens, *others = inputs
    return tokens.contiguous(), *others


def _patch_of(model: TimmModel, name: str, out_blocks: Sequence[int]) -> int:
    """Return the stride of a plain timm model's patches, and check that the model is plain and has these blocks."""
    strides = sorted({info["reduction"] for info in model.feature_info})
    if len(strides) > 1:
        raise ValueError(f"{name} gives maps at strides {strides}; wanted a plain model (or use TimmPyramid)")
    depth = len(model.feature_info)
    if not out_blocks or not all(0 <= block < depth for block in out_blocks):
        raise ValueError(f"out_blocks are {list(out_blocks)}; wanted blocks from 0 to {depth - 1}, which {name} has")
    return strides[0]
