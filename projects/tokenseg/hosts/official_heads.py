"""Names of the heads' weights in the checkpoints that MaskFormer and Mask2Former published.

These weights are licensed under CC-BY-NC 4.0, which forbids commercial use; this also holds for converted weights.
"""

from ..weight_rules import WeightRule, layer_rules
from .mask2former import Mask2FormerHead
from .mask_former import MaskFormerHead

_PIXELS, _QUERIES = "sem_seg_head.pixel_decoder", "sem_seg_head.query_decoder"
_THEIR_QUERIES = r"sem_seg_head\.predictor"
# The official checkpoints hold the constant class weights of the loss, which are dropped.
_CRITERION = WeightRule(r"criterion\.empty_weight", None)
# Names within the predictors of both methods: official -> here.
_OUTPUTS = {"class_embed": "classify"} | {f"mask_embed.layers.{place}": f"embed.{2 * place}" for place in range(3)}
_FEED_FORWARD = {"linear1": "layers.0", "linear2": "layers.3"}
_DEFORMABLE_LAYER = {
    "self_attn.sampling_offsets": "attention.offsets",
    "self_attn.attention_weights": "attention.weights",
    "self_attn.value_proj": "attention.value",
    "self_attn.output_proj": "attention.out",
    "norm1": "norm",
    "linear1": "feed_forward.layers.0",
    "linear2": "feed_forward.layers.3",
    "norm2": "feed_forward.norm",
}


def mask2former_rules(head: Mask2FormerHead) -> list[WeightRule]:
    """Return the rules that rename the weights `sem_seg_head.*` and `criterion.*` of Mask2Former's checkpoints.

    Args:
        head: The head into which the weights are loaded.
    """
    pixels, queries = r"sem_seg_head\.pixel_decoder", _THEIR_QUERIES
    projections = {
        f"{place}.{part}": f"{place}.{part}" for place in range(len(head.in_features) - 1) for part in (0, 1)
    }
    return [
        *layer_rules(rf"{pixels}\.input_proj", f"{_PIXELS}.projections", projections),
        WeightRule(rf"{pixels}\.transformer\.level_embed", f"{_PIXELS}.level_embeddings"),
        *layer_rules(rf"{pixels}\.transformer\.encoder\.layers\.(\d+)", rf"{_PIXELS}.layers.\1", _DEFORMABLE_LAYER),
        *layer_rules(pixels, _PIXELS, _convolution("adapter_1", "lateral") | _convolution("layer_1", "output")),
        *layer_rules(pixels, _PIXELS, {"mask_features": "mask_features"}),
        # The first published checkpoints use `static_query`, later ones `query_feat`.
        WeightRule(rf"{queries}\.(query_feat|static_query)\.weight", f"{_QUERIES}.query_states"),
        WeightRule(rf"{queries}\.query_embed\.weight", f"{_QUERIES}.query_positions"),
        WeightRule(rf"{queries}\.level_embed\.weight", f"{_QUERIES}.level_embeddings"),
        *_attention("transformer_self_attention_layers", "self_attn", "self_attention"),
        *_attention("transformer_cross_attention_layers", "multihead_attn", "cross_attention"),
        *layer_rules(
            rf"{queries}\.transformer_ffn_layers\.(\d+)",
            rf"{_QUERIES}.layers.\1.feed_forward",
            _FEED_FORWARD | {"norm": "norm"},
        ),
        *layer_rules(queries, f"{_QUERIES}.outputs", _OUTPUTS | {"decoder_norm": "norm"}),
        _CRITERION,
    ]


def mask_former_rules(head: MaskFormerHead) -> list[WeightRule]:
    """Return the rules that rename the weights `sem_seg_head.*` and `criterion.*` of MaskFormer's checkpoints.

    Args:
        head: The head into which the weights are loaded.
    """
    finer = len(head.in_features) - 1
    convolutions = {"mask_features": "mask_features"} | _convolution(f"layer_{finer + 1}", "coarsest")
    for place in range(finer):
        convolutions |= _convolution(f"adapter_{place + 1}", f"laterals.{place}")
        convolutions |= _convolution(f"layer_{place + 1}", f"outputs.{place}")
    theirs, ours = rf"{_THEIR_QUERIES}\.transformer\.decoder\.layers\.(\d+)", rf"{_QUERIES}.layers.\1"
    norms = {"norm1": "self_attention.norm", "norm2": "cross_attention.norm", "norm3": "feed_forward.norm"}
    return [
        # In the first published checkpoints, the layers of the pixel decoder are children of the head itself.
        *layer_rules(r"sem_seg_head(?:\.pixel_decoder)?", _PIXELS, convolutions),
        *layer_rules(_THEIR_QUERIES, _QUERIES, {"input_proj": "project"}),
        WeightRule(rf"{_THEIR_QUERIES}\.query_embed\.weight", f"{_QUERIES}.query_positions"),
        *_packed(rf"{theirs}\.self_attn", f"{ours}.self_attention.attention"),
        *_packed(rf"{theirs}\.multihead_attn", f"{ours}.cross_attention.attention"),
        *layer_rules(theirs, f"{ours}.feed_forward", _FEED_FORWARD),
        *layer_rules(theirs, ours, norms),
        *layer_rules(_THEIR_QUERIES, f"{_QUERIES}.outputs", _OUTPUTS | {"transformer.decoder.norm": "norm"}),
        _CRITERION,
    ]


def _convolution(theirs: str, ours: str) -> dict[str, str]:
    """Map the official names of a convolution and of the group norm after it to the names here."""
    return {theirs: f"{ours}.0", f"{theirs}.norm": f"{ours}.1"}


def _attention(layers: str, attention: str, ours: str) -> list[WeightRule]:
    """Return the rules for one kind of attention in Mask2Former's decoder, which has a list of layers for each kind."""
    source, target = rf"{_THEIR_QUERIES}\.{layers}\.(\d+)", rf"{_QUERIES}.layers.\1.{ours}"
    return [*_packed(rf"{source}\.{attention}", f"{target}.attention"), *layer_rules(source, target, {"norm": "norm"})]


def _packed(source: str, target: str) -> list[WeightRule]:
    """Return the rules for torch's attention, which packs query, key and value into one weight and one bias."""
    names = tuple(rf"{target}.{part}.\g<tensor>" for part in ("query", "key", "value"))
    packed = WeightRule(rf"{source}\.in_proj_(?P<tensor>weight|bias)", names)
    return [packed, *layer_rules(source, target, {"out_proj": "out"})]
