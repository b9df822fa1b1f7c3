"""The names of weights in mmsegmentation's plain vision transformer, which the authors of several methods used."""

from ..weight_rules import WeightRule, layer_rules
from .plain_vit import PlainViT


def mmseg_vit_rules(backbone: PlainViT) -> list[WeightRule]:
    """Return the rules that rename the weights `backbone.*`.

    Such checkpoints have no final norm, and always a class token with a position code. Both are dropped if the backbone
    has no class token.

    Args:
        backbone: The backbone into which the weights are loaded.
    """
    block, ours = r"backbone\.layers\.(\d+)", r"backbone.vit.blocks.\1"
    names = {
        "ln1": "norm1",
        "attn.attn.out_proj": "attn.proj",
        "ln2": "norm2",
        "ffn.layers.0.0": "mlp.fc1",
        "ffn.layers.1": "mlp.fc2",
    }
    if backbone.vit.num_prefix_tokens:
        tokens = [WeightRule(r"backbone\.(cls_token|pos_embed)", r"backbone.vit.\1")]
    else:
        tokens = [
            WeightRule(r"backbone\.cls_token", None),
            WeightRule(r"backbone\.pos_embed", "backbone.vit.pos_embed", lambda codes: codes[:, 1:]),
        ]
    return [
        *tokens,
        *layer_rules(r"backbone\.patch_embed", "backbone.vit.patch_embed", {"projection": "proj"}),
        *layer_rules(block, ours, names),
        WeightRule(rf"{block}\.attn\.attn\.in_proj_(weight|bias)", rf"{ours}.attn.qkv.\2"),
    ]
