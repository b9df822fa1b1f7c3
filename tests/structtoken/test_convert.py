"""The authors' checkpoints fit, and give the logits that their code gives with the same weights.

The logits come from the authors' code, run once on weights and inputs that are given here in closed form.
"""

import math
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from shapes import shapes_only
from tokenseg.backbones.mmseg_vit import mmseg_vit_rules
from tokenseg.config.load import load_config
from tokenseg.structtoken.convert import structtoken_rules
from tokenseg.weight_rules import convert

CONFIGS = Path(__file__).resolve().parents[2] / "configs/structtoken"
VARIANTS = ("cse", "sse", "pwe")
VIT_T = dict(C=192, K=150, G=32, L=4, D=12, P=16)


def build(variant, *overrides):
    return instantiate(load_config(str(CONFIGS / f"structtoken_{variant}_vit_t_ade20k_512_160k.py"), overrides).model)


def tiny(variant, crop):
    """Two blocks of 12 channels each in backbone and head, 5 classes, in doubles."""
    model = build(
        variant,
        f"dataset={{crop: {crop}, num_classes: 5}}",
        "vit={channels: 12, last_block: 1}",
        "model.backbone.timm_args={embed_dim: 12, depth: 2, num_heads: 3}",
        "model.sem_seg_head.blocks.num_blocks=2",
        "model.inference.stride=16",
    )
    return model.double().eval()


@pytest.fixture
def released(released_shapes):
    def read(variant, **sizes):
        files = ("backbones/mmseg_vit.txt", "structtoken/released_heads.txt")
        return {name: shape for file in files for name, shape in released_shapes(file, variant, **sizes).items()}

    return read


def convert_for(model, state):
    rules = [*mmseg_vit_rules(model.backbone), *structtoken_rules(model.sem_seg_head)]
    return convert(state, model.state_dict(), rules)


def on_meta(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def wave(shape, step):
    return torch.sin(step + math.sqrt(step) * torch.arange(math.prod(shape), dtype=torch.float64)).view(shape)


def closed_form(name, shape, place):
    """A weight that varies along every dimension; norms near 1 and all else near 0."""
    if len(shape) > 1:
        return wave(shape, place) * math.sqrt(2 * shape[0] / math.prod(shape))
    return 0.3 * wave(shape, place) + (name.endswith(".weight"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_has_its_place(variant, released):
    with shapes_only():
        model = build(variant)
    shapes = released(variant, **VIT_T)
    converted, dropped = convert_for(model, on_meta(shapes))
    assert len(converted) == len(shapes) == {"cse": 435, "sse": 399, "pwe": 311}[variant]
    assert dropped == []
    model.load_state_dict(converted, assign=True)


@pytest.mark.parametrize(
    ("variant", "override", "message"),
    [
        ("pwe", "dataset.num_classes=19", r"model: \d+ of another shape: decode_head\.kernels \(1, 150, 32, 32\)"),
        ("pwe", "dataset.crop=640", r"model: 2 of another shape: backbone\.pos_embed \(1, 1025, 192\), wanted"),
        ("cse", "dataset.crop=512", r"\d+ without a place in the model: decode_head\.layers\.0\.attn\.query_map"),
        ("sse", "dataset.crop=512", r"\d+ without a place .*; \d+ missing for the model: sem_seg_head\.blocks\.0"),
        ("pwe", "model.sem_seg_head.blocks.num_blocks=6", r"model: 76 missing for the model: sem_seg_head\.blocks\.4"),
    ],
)
def test_another_experiment_is_told(variant, override, message, released):
    with shapes_only():
        model = build(variant, override)
    with pytest.raises(ValueError, match=message):
        convert_for(model, on_meta(released("pwe", **VIT_T)))


def test_blocks_of_ones_own_are_told():
    with shapes_only():
        model = build("pwe")
    model.sem_seg_head.blocks[0] = torch.nn.Identity()
    with pytest.raises(ValueError, match="blocks are Identity; wanted those of CSE, SSE or PWE"):
        structtoken_rules(model.sem_seg_head)


@pytest.mark.parametrize(
    ("variant", "crop", "size", "theirs"),
    [
        ("cse", 64, None, [-0.537798, 0.443994, 2.963374, 0.131541, -0.017969]),
        ("cse", 64, (3, 5), [-0.532437, 0.472760, 2.906196, 0.176943, 0.050065]),
        ("cse", 48, (4, 5), [-0.517331, 0.395072, 3.939904, 0.070195, 0.397039]),
        ("sse", 64, None, [0.664521, -2.338974, -3.060162, -0.772842, 2.337977]),
        ("sse", 64, (3, 5), [0.442926, -2.334885, -2.967359, -0.618387, 2.355751]),
        ("sse", 48, (4, 5), [1.046338, -1.675033, -2.847692, -1.174960, 1.690284]),
        ("pwe", 64, None, [0.626206, 2.187719, 1.184104, 0.853815, -0.247955]),
        ("pwe", 64, (3, 5), [0.660250, 2.156156, 0.974922, 0.321660, -0.291513]),
        ("pwe", 48, (4, 5), [1.375085, -1.104178, 1.699760, -1.643082, 1.434797]),
    ],
)
def test_logits_equal_those_of_the_authors_code(variant, crop, size, theirs, released):
    """An image of the crop's size through the whole model, or maps of another size through the head, whose tokens are
    resampled then; at 48 pixels their grid is odd."""
    model = tiny(variant, crop)
    shapes = released(variant, C=12, K=5, G=crop // 16, L=2, D=2, P=16)
    state = {name: closed_form(name, shape, place) for place, (name, shape) in enumerate(sorted(shapes.items()), 1)}
    model.load_state_dict(convert_for(model, state)[0])
    with torch.no_grad():
        features = {"block1": wave((1, 12, *size), 2)} if size else model.backbone(wave((1, 3, crop, crop), 3))
        logits, _ = model.sem_seg_head(features)
    assert logits[0, :, 1, 2].tolist() == pytest.approx(theirs, abs=1e-5)
