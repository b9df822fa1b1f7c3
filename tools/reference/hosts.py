"""UperNet, MaskFormer and Mask2Former from `transformers`, with random weights, and rules that rename these weights.

`transformers` is only imported when a model is built, since this takes many seconds. Its models are built from configs,
without network access, and run on the maps of a backbone, from the finest to the coarsest, like our heads.
"""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

Rules = list[tuple[str, str]]
Stage = tuple[Tensor, Tensor]  # class logits (N, Q, K+1) and masks (N, Q, h, w)


def load_renamed(head: nn.Module, theirs: dict[str, Tensor], rules: Rules) -> nn.Module:
    """Load their weights into our head, and return it.

    Args:
        head: Our head.
        theirs: Their weights by name.
        rules: Patterns of their names and the replacements by our names; the first matching pattern applies. `{qkv}`
            stands for query, key and value, which are one matrix in `transformers`.

    Raises:
        ValueError: No rule matches a name.
    """
    renamed = {}
    for name, new in new_names(theirs, rules).items():
        if "{qkv}" in new:
            parts = zip(("query", "key", "value"), theirs[name].chunk(3), strict=True)
            renamed |= {new.format(qkv=part): value for part, value in parts}
        else:
            renamed[new] = theirs[name]
    head.load_state_dict(renamed)
    return head


def new_names(names: Iterable[str], rules: Rules) -> dict[str, str]:
    """Map each of their names to ours; see `load_renamed` for arguments and errors."""
    found = {}
    for name in names:
        fitting = [rule for rule in rules if re.fullmatch(rule[0], name)]
        if not fitting:
            raise ValueError(f"no rule matches {name}; wanted one")
        found[name] = re.sub(*fitting[0], name)
    return found


def disturb(model: nn.Module) -> nn.Module:
    """Add noise to all parameters, and return the model in evaluation mode.

    Otherwise all biases and all norms would be equal, and a comparison would not notice if they were exchanged.
    """
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def _swin(width: int) -> object:
    """Return the smallest backbone whose maps have `width` channels, 2 `width` channels, and so on; it is never run."""
    from transformers import SwinConfig

    return SwinConfig(embed_dim=width, depths=[1] * 4, num_heads=[1, 2, 4, 8], out_indices=[1, 2, 3, 4])


def uper_net(*, width: int, num_classes: int, hidden: int, auxiliary: int) -> nn.Module:
    """Build UperNet for maps of `width` channels and more; `decode_head` and `auxiliary_head` take the list of maps."""
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    config = UperNetConfig(
        backbone_config=_swin(width),
        hidden_size=hidden,
        auxiliary_channels=auxiliary,
        auxiliary_in_channels=4 * width,
        num_labels=num_classes,
    )
    return UperNetForSemanticSegmentation(config)


def mask_former(
    *, width: int, num_classes: int, num_queries: int, channels: int, num_layers: int, num_heads: int, hidden: int
) -> nn.Module:
    """Build MaskFormer for maps of `width` channels and more."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation

    decoder = DetrConfig(
        d_model=channels,
        decoder_layers=num_layers,
        decoder_attention_heads=num_heads,
        encoder_attention_heads=num_heads,
        decoder_ffn_dim=hidden,
        num_queries=num_queries,
    )
    config = MaskFormerConfig(
        backbone_config=_swin(width),
        decoder_config=decoder,
        fpn_feature_size=channels,
        mask_feature_size=channels,
        num_labels=num_classes,
    )
    return MaskFormerForInstanceSegmentation(config)


def mask_former_stages(model: nn.Module, maps: Sequence[Tensor]) -> list[Stage]:
    """Compute the predictions of MaskFormer after every layer.

    The model's own option for auxiliary predictions uses wrong states, so hooks collect the right ones.
    """
    states, decoder = [], model.model.transformer_module.decoder
    hooks = [layer.register_forward_hook(lambda *args: states.append(args[2])) for layer in decoder.layers]
    features = model.model.pixel_level_module.decoder(list(maps)).last_hidden_state
    model.model.transformer_module(maps[-1])
    for hook in hooks:
        hook.remove()
    normed = [decoder.layernorm(state[0] if isinstance(state, tuple) else state) for state in states]
    return [
        (model.class_predictor(state), torch.einsum("nqc,nchw->nqhw", model.mask_embedder(state), features))
        for state in normed
    ]


def mask2former(*, width: int, num_classes: int, **sizes: object) -> nn.Module:
    """Build Mask2Former for maps of `width` channels and more; `sizes` are extra arguments of its config."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    config = Mask2FormerConfig(backbone_config=_swin(width), num_labels=num_classes, dropout=0.0, **sizes)
    return Mask2FormerForUniversalSegmentation(config)


def mask2former_stages(model: nn.Module, maps: Sequence[Tensor]) -> list[Stage]:
    """Compute the predictions of Mask2Former before the first layer and after every layer."""
    pixels = model.model.pixel_level_module.decoder(list(maps))
    found = model.model.transformer_module(
        multi_scale_features=pixels.multi_scale_features, mask_features=pixels.mask_features
    )
    states = [state.transpose(0, 1) for state in found.intermediate_hidden_states]
    return [(model.class_predictor(x), masks) for x, masks in zip(states, found.masks_queries_logits, strict=True)]


def head_weights(model: nn.Module) -> dict[str, Tensor]:
    """Names and weights of a mask classifier without its backbone and loss, and without `model.`."""
    return {
        name.removeprefix("model."): value
        for name, value in model.state_dict().items()
        if "level_module.encoder" not in name and not name.startswith("criterion")
    }


def _attention(theirs: str, ours: str, out: str) -> Rules:
    parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value", out: "out"}
    return [(rf"{theirs}\.{name}\.(.*)", rf"{ours}.{part}.\2") for name, part in parts.items()]


_LAYER, _OURS = r"transformer_module\.decoder\.layers\.(\d)", r"query_decoder.layers.\1"


def _decoder(*, cross: str, hidden: str, out: str) -> Rules:
    """Return the rules for the query decoder; the arguments are the names that differ in the two mask classifiers."""
    return [
        (r"class_predictor\.(.*)", r"query_decoder.outputs.classify.\1"),
        (r".*mask_embedder\.0\.0\.(.*)", r"query_decoder.outputs.embed.0.\1"),
        (r".*mask_embedder\.1\.0\.(.*)", r"query_decoder.outputs.embed.2.\1"),
        (r".*mask_embedder\.2\.0\.(.*)", r"query_decoder.outputs.embed.4.\1"),
        (r"transformer_module\.queries_embedder\.weight", r"query_decoder.query_positions"),
        (r"transformer_module\.decoder\.layernorm\.(.*)", r"query_decoder.outputs.norm.\1"),
        *_attention(rf"{_LAYER}\.self_attn", rf"{_OURS}.self_attention.attention", out),
        (rf"{_LAYER}\.self_attn_layer_norm\.(.*)", rf"{_OURS}.self_attention.norm.\2"),
        (rf"{_LAYER}\.{cross}_layer_norm\.(.*)", rf"{_OURS}.cross_attention.norm.\2"),
        (rf"{_LAYER}\.{hidden}fc1\.(.*)", rf"{_OURS}.feed_forward.layers.0.\2"),
        (rf"{_LAYER}\.{hidden}fc2\.(.*)", rf"{_OURS}.feed_forward.layers.3.\2"),
        (rf"{_LAYER}\.final_layer_norm\.(.*)", rf"{_OURS}.feed_forward.norm.\2"),
    ]


_CROSS = rf"{_OURS}.cross_attention.attention"
_PIXEL = r"pixel_level_module\.decoder"
MASK_FORMER: Rules = [
    *_decoder(cross="encoder_attn", hidden=r"mlp\.", out="o_proj"),
    *_attention(rf"{_LAYER}\.encoder_attn", _CROSS, "o_proj"),
    (r"transformer_module\.input_projection\.(.*)", r"query_decoder.project.\1"),
    (rf"{_PIXEL}\.fpn\.stem\.(.*)", r"pixel_decoder.coarsest.\1"),
    *((rf"{_PIXEL}\.fpn\.layers\.{i}\.proj\.(.*)", rf"pixel_decoder.laterals.{2 - i}.\1") for i in range(3)),
    *((rf"{_PIXEL}\.fpn\.layers\.{i}\.block\.(.*)", rf"pixel_decoder.outputs.{2 - i}.\1") for i in range(3)),
    (rf"{_PIXEL}\.mask_projection\.(.*)", r"pixel_decoder.mask_features.\1"),
]

_ENCODER, _DEFORMABLE = rf"{_PIXEL}\.encoder\.layers\.(\d)", r"pixel_decoder.layers.\1"
MASK2FORMER: Rules = [
    *_decoder(cross="cross_attn", hidden="", out="out_proj"),
    (rf"{_LAYER}\.cross_attn\.in_proj_(.*)", rf"{_CROSS}.{{qkv}}.\2"),
    (rf"{_LAYER}\.cross_attn\.out_proj\.(.*)", rf"{_CROSS}.out.\2"),
    (r"transformer_module\.queries_features\.weight", r"query_decoder.query_states"),
    (r"transformer_module\.level_embed\.weight", r"query_decoder.level_embeddings"),
    (rf"{_PIXEL}\.level_embed", r"pixel_decoder.level_embeddings"),
    (rf"{_PIXEL}\.input_projections\.(.*)", r"pixel_decoder.projections.\1"),
    (rf"{_PIXEL}\.adapter_1\.(.*)", r"pixel_decoder.lateral.\1"),
    (rf"{_PIXEL}\.layer_1\.(.*)", r"pixel_decoder.output.\1"),
    (rf"{_PIXEL}\.mask_projection\.(.*)", r"pixel_decoder.mask_features.\1"),
    (rf"{_ENCODER}\.self_attn\.sampling_offsets\.(.*)", rf"{_DEFORMABLE}.attention.offsets.\2"),
    (rf"{_ENCODER}\.self_attn\.attention_weights\.(.*)", rf"{_DEFORMABLE}.attention.weights.\2"),
    (rf"{_ENCODER}\.self_attn\.value_proj\.(.*)", rf"{_DEFORMABLE}.attention.value.\2"),
    (rf"{_ENCODER}\.self_attn\.output_proj\.(.*)", rf"{_DEFORMABLE}.attention.out.\2"),
    (rf"{_ENCODER}\.self_attn_layer_norm\.(.*)", rf"{_DEFORMABLE}.norm.\2"),
    (rf"{_ENCODER}\.fc1\.(.*)", rf"{_DEFORMABLE}.feed_forward.layers.0.\2"),
    (rf"{_ENCODER}\.fc2\.(.*)", rf"{_DEFORMABLE}.feed_forward.layers.3.\2"),
    (rf"{_ENCODER}\.final_layer_norm\.(.*)", rf"{_DEFORMABLE}.feed_forward.norm.\2"),
]

UPER_NET: Rules = [
    (r"psp_modules\.(\d)\.1\.conv\.(.*)", r"pools.\1.1.\2"),
    (r"psp_modules\.(\d)\.1\.batch_norm\.(.*)", r"pools.\1.2.\2"),
    (r"bottleneck\.conv\.(.*)", r"joint_pools.0.\1"),
    (r"bottleneck\.batch_norm\.(.*)", r"joint_pools.1.\1"),
    (r"lateral_convs\.(\d)\.conv\.(.*)", r"laterals.\1.0.\2"),
    (r"lateral_convs\.(\d)\.batch_norm\.(.*)", r"laterals.\1.1.\2"),
    (r"fpn_convs\.(\d)\.conv\.(.*)", r"outputs.\1.0.\2"),
    (r"fpn_convs\.(\d)\.batch_norm\.(.*)", r"outputs.\1.1.\2"),
    (r"fpn_bottleneck\.conv\.(.*)", r"joint.0.\1"),
    (r"fpn_bottleneck\.batch_norm\.(.*)", r"joint.1.\1"),
    # The remaining rules are for the auxiliary head.
    (r"convs\.(\d)\.conv\.(.*)", r"convs.\1.0.\2"),
    (r"convs\.(\d)\.batch_norm\.(.*)", r"convs.\1.1.\2"),
    (r"classifier\.(.*)", r"classify.1.\1"),
]
