"""Names of the weights in the StructToken checkpoints that its authors published, for CSE, SSE and PWE."""

import re

from ..weight_rules import WeightRule, layer_rules
from .blocks import CrossBlock, JointBlock
from .head import StructTokenHead

# Names in the official checkpoints -> names here, in the order of the layers.
MAPPING = {"conv1": "0", "norm1": "1", "conv2": "3", "norm2": "4", "conv3": "6", "norm3": "7"}
FEED_FORWARD = {"pwconv1": "0", "norm1": "1", "dwconv": "3", "norm2": "4", "pwconv2": "6", "norm3": "7"}
REFINE = {"norm1": "0", "conv1": "2", "norm2": "3", "conv2": "5"}

MAPPINGS = {
    "cross_attn.query_map": "map_query",
    "cross_attn.key_map": "map_key",
    "cross_attn.value_map": "map_value",
    "cross_attn.out_project": "map_out",
    "attn.query_map": "map_in",
    "attn.out_project": "map_out",
}
FEED_FORWARDS = {CrossBlock: {"ffn1": "token_ffn", "ffn2": "feature_ffn"}, JointBlock: {"ffn1": "feed_forward"}}


def structtoken_rules(head: StructTokenHead) -> list[WeightRule]:
    """Rules for the weights of `decode_head.`.

    Args:
        head: The head that takes the weights.

    Raises:
        ValueError: The head's blocks are not among the paper's three kinds.
    """
    kind = type(head.blocks[0])
    if kind not in FEED_FORWARDS:
        raise ValueError(f"the head's blocks are {kind.__name__}; wanted those of CSE, SSE or PWE")
    block, ours = r"decode_head\.layers\.(\d+)", r"sem_seg_head.blocks.\1"
    rules = [
        WeightRule(r"decode_head\.kernels", "sem_seg_head.tokens"),
        *layer_rules("decode_head", "sem_seg_head", {"dec_proj": "project"}),
        *layer_rules(block, ours, {"attn.attn_pw_conv": "extraction.mix"}),
        *layer_rules(r"decode_head\.residual_block", "sem_seg_head.refine.layers", REFINE),
    ]
    for theirs, name in MAPPINGS.items():
        rules += layer_rules(rf"{block}\.{re.escape(theirs)}", f"{ours}.extraction.{name}", MAPPING)
    for theirs, name in FEED_FORWARDS[kind].items():
        rules += layer_rules(rf"{block}\.{theirs}", f"{ours}.{name}.layers", FEED_FORWARD)
    return rules
