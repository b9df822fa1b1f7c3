"""Names of the weights in the SegViT checkpoints that its authors published, plain and Shrunk."""

from ..weight_rules import WeightRule, layer_rules
from .bases import LinearBases, Repeated
from .head import SegViTHead
from .shrunk import QueryUpsample

# Names within every decoder layer: official -> here.
LAYERS = {
    "self_attn.out_proj": "self_attention.out",
    "linear1": "feed_forward.0",
    "linear2": "feed_forward.3",
    "norm1": "norms.0",
    "norm2": "norms.1",
    "norm3": "norms.2",
}
# Names within layers whose attention predicts masks. Their cross attention is the authors' own module, not torch's.
ATTENTION_TO_MASK = {
    "multihead_attn.q": "cross_attention.query",
    "multihead_attn.k": "cross_attention.key",
    "multihead_attn.v": "cross_attention.value",
    "multihead_attn.proj": "cross_attention.out",
}


def segvit_rules(head: SegViTHead) -> list[WeightRule]:
    """Rules for the weights of `decode_head.`.

    Args:
        head: The head that takes the weights.

    Raises:
        ValueError: No published checkpoint has bases of this kind.
    """
    bases, ours = head.bases, "sem_seg_head"
    # The checkpoints hold the constant class weights of the loss; Shrunk's inner head has a second loss.
    criterion = WeightRule(r"decode_head\.(atm\.)?loss_decode\.criterion\.empty_weight", None)
    if isinstance(bases, LinearBases):
        rules = _projections(len(bases.map_ids), f"{ours}.bases")
        for level in range(len(bases.map_ids)):
            layer = rf"decode_head\.decoder_{level + 1}\.layers\.(\d+)"
            rules += _mask_layers(layer, rf"{ours}.levels.{level}.\1")
        return [*rules, *_tokens_and_classes("decode_head"), criterion]
    if isinstance(bases, Repeated) and isinstance(bases.bases, QueryUpsample):
        upsample = bases.bases
        rules = _projections(len(upsample.project), f"{ours}.bases.bases")
        for place in range(len(upsample.project)):
            layer = rf"decode_head\.decoder_{place + 1}\.layers\.(\d+)"
            rules += _torch_layers(layer, rf"{ours}.bases.bases.layers.{place}.\1")
        rules += _mask_layers(r"decode_head\.atm\.decoder_1\.layers\.(\d+)", rf"{ours}.levels.\1.0")
        return [*rules, *_tokens_and_classes("decode_head.atm"), _queries(upsample), criterion]
    raise ValueError(f"the head's bases are {type(bases).__name__}; wanted those of SegViT on a ViT, plain or Shrunk")


def _projections(count: int, target: str) -> list[WeightRule]:
    rules = []
    for place in range(count):
        names = {f"input_proj_{place + 1}": f"project.{place}.0", f"proj_norm_{place + 1}": f"project.{place}.1"}
        rules += layer_rules("decode_head", target, names)
    return rules


def _tokens_and_classes(source: str) -> list[WeightRule]:
    source = source.replace(".", r"\.")
    return [
        WeightRule(rf"{source}\.q\.weight", "sem_seg_head.tokens"),
        *layer_rules(source, "sem_seg_head", {"class_embed": "classify"}),
    ]


def _queries(upsample: QueryUpsample) -> WeightRule:
    """The rule for the queries, which the official checkpoints store in row-major order, (H * W, D)."""
    size = upsample.queries.shape[-2:]
    return WeightRule(
        r"decode_head\.q\.weight",
        "sem_seg_head.bases.bases.queries",
        lambda rows: rows.T[None].unflatten(2, size) if len(rows) == size.numel() else rows,
    )


def _packed(source: str, theirs: str, target: str) -> WeightRule:
    """The rule for torch's attention, which packs queries, keys and values into one weight and one bias."""
    names = (rf"{target}.{part}.\g<tensor>" for part in ("query", "key", "value"))
    return WeightRule(rf"{source}\.{theirs}\.in_proj_(?P<tensor>weight|bias)", tuple(names))


def _mask_layers(source: str, target: str) -> list[WeightRule]:
    packed = _packed(source, "self_attn", f"{target}.self_attention")
    return [packed, *layer_rules(source, target, LAYERS | ATTENTION_TO_MASK)]


def _torch_layers(source: str, target: str) -> list[WeightRule]:
    packed = [
        _packed(source, "self_attn", f"{target}.self_attention"),
        _packed(source, "multihead_attn", f"{target}.cross_attention"),
    ]
    return [*packed, *layer_rules(source, target, LAYERS | {"multihead_attn.out_proj": "cross_attention.out"})]
