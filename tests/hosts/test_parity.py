"""Every output of the heads against those of `transformers`, with random weights and no network."""

import pytest
import torch

from tokenseg.hosts.fcn import FCNHead
from tokenseg.hosts.mask2former import Mask2FormerHead
from tokenseg.hosts.mask_former import MaskFormerHead
from tokenseg.hosts.uper_net import UperNetHead
from tokenseg.losses.mask import MaskLoss

pytestmark = pytest.mark.slow

CHANNELS = [8, 16, 32, 64]
NAMES = ["res2", "res3", "res4", "res5"]
SIZES = [(64, 96), (83, 61)]


def maps(size, channels=CHANNELS):
    found = []
    for place, count in enumerate(channels):
        found.append(torch.randn(2, count, *(-(-side // (4 << place)) for side in size)))
    return found


def disturbed(model):
    """With random biases and norms, which a wrong order or place would show."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def swin(transformers):
    return transformers.SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], out_indices=[1, 2, 3, 4])


UPER_NET = [
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
    (r"convs\.(\d)\.conv\.(.*)", r"convs.\1.0.\2"),
    (r"convs\.(\d)\.batch_norm\.(.*)", r"convs.\1.1.\2"),
    (r"classifier\.(.*)", r"classify.1.\1"),
]
LAYER = [
    (r"(.*layers\.\d)\.self_attn\.([qkv])_proj\.(.*)", r"\1.self_attention.attention.\2.\3"),
]


@pytest.mark.parametrize("size", SIZES)
def test_uper_net(transformers, load_renamed, size):
    config = transformers.UperNetConfig(
        backbone_config=swin(transformers), hidden_size=16, auxiliary_channels=12, auxiliary_in_channels=32
    )
    config.num_labels = 7
    theirs = disturbed(transformers.UperNetForSemanticSegmentation(config))
    head = UperNetHead(channels=CHANNELS, num_classes=7, width=16)
    load_renamed(head, theirs.decode_head.state_dict(), UPER_NET).eval()
    further = FCNHead(in_features=["res4"], channels=[32], num_classes=7, width=12, num_convs=1, concat_input=False)
    load_renamed(further, theirs.auxiliary_head.state_dict(), UPER_NET).eval()
    features = maps(size)
    ours = dict(zip(NAMES, features, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(head(ours)[0], theirs.decode_head(features), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(further(ours)[0], theirs.auxiliary_head(features), rtol=1e-4, atol=1e-4)


ATTENTION = {"q": "query", "k": "key", "v": "value"}


def attention(theirs, ours, out):
    return [(rf"{theirs}\.{short}_proj\.(.*)", rf"{ours}.{name}.\2") for short, name in ATTENTION.items()] + [
        (rf"{theirs}\.{out}\.(.*)", rf"{ours}.out.\2")
    ]


LAST = [
    (r"class_predictor\.(.*)", r"query_decoder.outputs.classify.\1"),
    (r".*mask_embedder\.0\.0\.(.*)", r"query_decoder.outputs.embed.0.\1"),
    (r".*mask_embedder\.1\.0\.(.*)", r"query_decoder.outputs.embed.2.\1"),
    (r".*mask_embedder\.2\.0\.(.*)", r"query_decoder.outputs.embed.4.\1"),
]
DECODER = [
    (r"transformer_module\.queries_embedder\.weight", r"query_decoder.query_positions"),
    (r"transformer_module\.decoder\.layernorm\.(.*)", r"query_decoder.outputs.norm.\1"),
]


def decoder_layers(*, cross, fc, out):
    place = r"transformer_module\.decoder\.layers\.(\d)"
    ours = r"query_decoder.layers.\1"
    return [
        *attention(rf"{place}\.self_attn", rf"{ours}.self_attention.attention", out),
        (rf"{place}\.self_attn_layer_norm\.(.*)", rf"{ours}.self_attention.norm.\2"),
        (rf"{place}\.{cross}_layer_norm\.(.*)", rf"{ours}.cross_attention.norm.\2"),
        (rf"{place}\.{fc}fc1\.(.*)", rf"{ours}.feed_forward.layers.0.\2"),
        (rf"{place}\.{fc}fc2\.(.*)", rf"{ours}.feed_forward.layers.3.\2"),
        (rf"{place}\.final_layer_norm\.(.*)", rf"{ours}.feed_forward.norm.\2"),
    ]


CROSS = r"query_decoder.layers.\1.cross_attention.attention"
MASK_FORMER = [
    *LAST,
    *DECODER,
    *decoder_layers(cross="encoder_attn", fc=r"mlp\.", out="o_proj"),
    *attention(r"transformer_module\.decoder\.layers\.(\d)\.encoder_attn", CROSS, "o_proj"),
    (r"transformer_module\.input_projection\.(.*)", r"query_decoder.project.\1"),
    (r"pixel_level_module\.decoder\.fpn\.stem\.(.*)", r"pixel_decoder.coarsest.\1"),
    (r"pixel_level_module\.decoder\.fpn\.layers\.0\.proj\.(.*)", r"pixel_decoder.laterals.2.\1"),
    (r"pixel_level_module\.decoder\.fpn\.layers\.1\.proj\.(.*)", r"pixel_decoder.laterals.1.\1"),
    (r"pixel_level_module\.decoder\.fpn\.layers\.2\.proj\.(.*)", r"pixel_decoder.laterals.0.\1"),
    (r"pixel_level_module\.decoder\.fpn\.layers\.0\.block\.(.*)", r"pixel_decoder.outputs.2.\1"),
    (r"pixel_level_module\.decoder\.fpn\.layers\.1\.block\.(.*)", r"pixel_decoder.outputs.1.\1"),
    (r"pixel_level_module\.decoder\.fpn\.layers\.2\.block\.(.*)", r"pixel_decoder.outputs.0.\1"),
    (r"pixel_level_module\.decoder\.mask_projection\.(.*)", r"pixel_decoder.mask_features.\1"),
]


def head_weights(theirs):
    """Names without `model.`, and without the backbone and the loss."""
    return {
        name.removeprefix("model."): value
        for name, value in theirs.state_dict().items()
        if "level_module.encoder" not in name and not name.startswith("criterion")
    }


@pytest.mark.parametrize("size", SIZES)
def test_mask_former(transformers, load_renamed, size):
    detr = transformers.DetrConfig(
        d_model=96,
        decoder_layers=3,
        decoder_attention_heads=4,
        encoder_attention_heads=4,
        decoder_ffn_dim=48,
        num_queries=9,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=swin(transformers), decoder_config=detr, fpn_feature_size=96, mask_feature_size=96
    )
    config.num_labels = 5
    theirs = disturbed(transformers.MaskFormerForInstanceSegmentation(config))
    head = MaskFormerHead(
        channels=CHANNELS,
        num_classes=5,
        criterion=MaskLoss(num_classes=5, weights={"dice": 1.0}),
        num_queries=9,
        width=96,
        num_layers=3,
        num_heads=4,
        hidden=48,
    )
    load_renamed(head, head_weights(theirs), MASK_FORMER).eval()
    features, states = maps(size), []
    decoder = theirs.model.transformer_module.decoder
    for layer in decoder.layers:
        layer.register_forward_hook(
            lambda module, inputs, output: states.append(output[0] if isinstance(output, tuple) else output)
        )
    with torch.no_grad():
        mask_features = theirs.model.pixel_level_module.decoder(features).last_hidden_state
        theirs.model.transformer_module(features[-1])
        predictions = head.decode(dict(zip(NAMES, features, strict=True)))
        assert len(predictions) == len(states) == 3
        for ours, state in zip(predictions, states, strict=True):
            state = decoder.layernorm(state)
            masks = torch.einsum("nqc,nchw->nqhw", theirs.mask_embedder(state), mask_features)
            torch.testing.assert_close(ours.class_logits, theirs.class_predictor(state), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours.masks, masks, rtol=1e-4, atol=1e-4)


PIXEL = r"pixel_level_module\.decoder"
ENCODER = rf"{PIXEL}\.encoder\.layers\.(\d)"
MASK2FORMER = [
    *LAST,
    *DECODER,
    *decoder_layers(cross="cross_attn", fc="", out="out_proj"),
    (r"transformer_module\.decoder\.layers\.(\d)\.cross_attn\.in_proj_(.*)", rf"{CROSS}.{{qkv}}.\2"),
    (r"transformer_module\.decoder\.layers\.(\d)\.cross_attn\.out_proj\.(.*)", rf"{CROSS}.out.\2"),
    (r"transformer_module\.queries_features\.weight", r"query_decoder.query_states"),
    (r"transformer_module\.level_embed\.weight", r"query_decoder.level_embeddings"),
    (rf"{PIXEL}\.level_embed", r"pixel_decoder.level_embeddings"),
    (rf"{PIXEL}\.input_projections\.(.*)", r"pixel_decoder.projections.\1"),
    (rf"{PIXEL}\.adapter_1\.(.*)", r"pixel_decoder.lateral.\1"),
    (rf"{PIXEL}\.layer_1\.(.*)", r"pixel_decoder.output.\1"),
    (rf"{PIXEL}\.mask_projection\.(.*)", r"pixel_decoder.mask_features.\1"),
    (rf"{ENCODER}\.self_attn\.sampling_offsets\.(.*)", r"pixel_decoder.layers.\1.attention.offsets.\2"),
    (rf"{ENCODER}\.self_attn\.attention_weights\.(.*)", r"pixel_decoder.layers.\1.attention.weights.\2"),
    (rf"{ENCODER}\.self_attn\.value_proj\.(.*)", r"pixel_decoder.layers.\1.attention.value.\2"),
    (rf"{ENCODER}\.self_attn\.output_proj\.(.*)", r"pixel_decoder.layers.\1.attention.out.\2"),
    (rf"{ENCODER}\.self_attn_layer_norm\.(.*)", r"pixel_decoder.layers.\1.norm.\2"),
    (rf"{ENCODER}\.fc1\.(.*)", r"pixel_decoder.layers.\1.feed_forward.layers.0.\2"),
    (rf"{ENCODER}\.fc2\.(.*)", r"pixel_decoder.layers.\1.feed_forward.layers.3.\2"),
    (rf"{ENCODER}\.final_layer_norm\.(.*)", r"pixel_decoder.layers.\1.feed_forward.norm.\2"),
]


@pytest.mark.parametrize("sampling", ["embedding_bag", "grid_sample"])
@pytest.mark.parametrize("size", SIZES)
def test_mask2former(transformers, load_renamed, size, sampling):
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(transformers),
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=40,
        encoder_layers=2,
        decoder_layers=5,
        num_attention_heads=4,
        dim_feedforward=48,
        num_queries=9,
        dropout=0.0,
    )
    config.num_labels = 5
    theirs = disturbed(transformers.Mask2FormerForUniversalSegmentation(config))
    head = Mask2FormerHead(
        channels=CHANNELS,
        num_classes=5,
        criterion=MaskLoss(num_classes=5, weights={"dice": 1.0}),
        num_queries=9,
        width=64,
        num_encoder_layers=2,
        num_layers=4,
        num_heads=4,
        encoder_hidden=40,
        hidden=48,
        sampling=sampling,
    )
    load_renamed(head, head_weights(theirs), MASK2FORMER).eval()
    features = maps(size)
    with torch.no_grad():
        pixels = theirs.model.pixel_level_module.decoder(features)
        found = theirs.model.transformer_module(
            multi_scale_features=pixels.multi_scale_features, mask_features=pixels.mask_features
        )
        predictions = head.decode(dict(zip(NAMES, features, strict=True)))
        assert len(predictions) == len(found.masks_queries_logits) == 5
        states = [state.transpose(0, 1) for state in found.intermediate_hidden_states]
        for ours, state, masks in zip(predictions, states, found.masks_queries_logits, strict=True):
            torch.testing.assert_close(ours.class_logits, theirs.class_predictor(state), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours.masks, masks, rtol=1e-4, atol=1e-4)
