"""The names of Swin's and ResNet's weights in the checkpoints that MaskFormer and Mask2Former published."""

import re

from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer

from ..weight_rules import WeightRule, layer_rules
from .pyramid import TimmPyramid

_SOURCE, _TRUNK = r"backbone\.", "backbone.trunk"
# The names of the layers of Detectron2's deep stem -> their names in timm.
_DEEP_STEM = {
    "conv1": "conv1.0",
    "conv1.norm": "conv1.1",
    "conv2": "conv1.3",
    "conv2.norm": "conv1.4",
    "conv3": "conv1.6",
    "conv3.norm": "bn1",
}
_PLAIN_STEM = {"conv1": "conv1", "conv1.norm": "bn1"}
_BOTTLENECK = {
    "conv1": "conv1",
    "conv1.norm": "bn1",
    "conv2": "conv2",
    "conv2.norm": "bn2",
    "conv3": "conv3",
    "conv3.norm": "bn3",
    "shortcut": "downsample.0",
    "shortcut.norm": "downsample.1",
}


def official_pyramid_rules(backbone: TimmPyramid) -> list[WeightRule]:
    """Return the rules that rename the weights `backbone.*`, depending on the kind of model.

    Args:
        backbone: The backbone into which the weights are loaded.

    Raises:
        ValueError: No official weights are known for this kind of model.
    """
    if isinstance(backbone.trunk, SwinTransformer):
        return official_swin_rules()
    if isinstance(backbone.trunk, ResNet):
        return detectron2_resnet_rules(backbone)
    raise ValueError(
        f"no official weights are known for the backbone {type(backbone.trunk).__name__}; wanted a Swin or a ResNet"
    )


def official_swin_rules() -> list[WeightRule]:
    """Return the rules for the weights of Swin's official code for dense prediction, which normalises every map.

    The backbone needs `out_norm=True` and the default `window_padding="before_shift"`. Patch merging is the end of a
    stage in the official code, and the beginning of the next one in timm. `relative_position_index` is dropped, since
    it follows from the size of the window.
    """
    source, ours = rf"{_SOURCE}layers\.(\d+)\.blocks\.(\d+)", rf"{_TRUNK}.layers.\1.blocks.\2"
    same = {name: name for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}
    rules = [
        *layer_rules(rf"{_SOURCE}patch_embed", f"{_TRUNK}.patch_embed", {"proj": "proj", "norm": "norm"}),
        *layer_rules(source, ours, same),
        WeightRule(rf"{source}\.attn\.relative_position_bias_table", f"{ours}.attn.relative_position_bias_table"),
        WeightRule(rf"{source}\.attn\.relative_position_index", None),
        *layer_rules("backbone", "backbone.out_norms", {f"norm{stage}": f"res{stage + 2}" for stage in range(4)}),
    ]
    for stage in range(3):
        merging = rf"{_SOURCE}layers\.{stage}\.downsample"
        target = f"{_TRUNK}.layers.{stage + 1}.downsample"
        rules += layer_rules(merging, target, {"norm": "norm", "reduction": "reduction"})
    return rules


def detectron2_resnet_rules(backbone: TimmPyramid) -> list[WeightRule]:
    """Return the rules for Detectron2's ResNet-50, 101 or 152, with the plain stem or DeepLab's (R-103, R101c).

    Weights that were trained with `STRIDE_IN_1X1`, such as MSRA's R-101.pkl, have the same names and shapes, but are
    wrong for timm's models, whose stride is in the 3x3 convolution. A checkpoint of frozen batch norms lacks the
    `num_batches_tracked` of trainable ones, so it only fits backbones with `norm="FrozenBN"`, which do not have it.

    Args:
        backbone: The ResNet into which the weights are loaded. In timm, the deep stem is `stem_type="deep"` with
            `stem_width=64`.
    """
    names = backbone.trunk.state_dict().keys()
    stem = _PLAIN_STEM if "conv1.weight" in names else _DEEP_STEM
    counted = "bn1.num_batches_tracked" in names
    rules = _conv_and_norm_rules(rf"{_SOURCE}stem", _TRUNK, stem, counted=counted)
    for stage in range(2, 6):
        source, ours = rf"{_SOURCE}res{stage}\.(\d+)", rf"{_TRUNK}.layer{stage - 1}.\1"
        rules += _conv_and_norm_rules(source, ours, _BOTTLENECK, counted=counted)
    return rules


def _conv_and_norm_rules(source: str, target: str, layers: dict[str, str], *, counted: bool) -> list[WeightRule]:
    """Return rules for convolutions and batch norms; `num_batches_tracked` is kept only if `counted`."""
    rules = layer_rules(source, target, layers)
    for theirs, ours in layers.items():
        if theirs.endswith(".norm"):
            norm = rf"{source}\.{re.escape(theirs)}\."
            rules.append(WeightRule(rf"{norm}(?P<tensor>running_mean|running_var)", rf"{target}.{ours}.\g<tensor>"))
            count = rf"{target}.{ours}.num_batches_tracked" if counted else None
            rules.append(WeightRule(rf"{norm}num_batches_tracked", count))
    return rules
