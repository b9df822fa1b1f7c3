"""The authors' checkpoints fit, and give the scores that their code gives with the same weights.

The scores come from the authors' code, run once on weights and inputs that are given here in closed form.
"""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from closed_form import closed_form, wave
from shapes import shapes_only
from tokenseg.backbones.mmseg_vit import mmseg_vit_rules
from tokenseg.config.load import load_config
from tokenseg.segvit.convert import segvit_rules
from tokenseg.weight_rules import convert

CONFIGS = Path(__file__).resolve().parents[2] / "configs/segvit"
FILES = {"plain": "segvit_vit_l_ade20k_640_160k", "shrunk": "segvit_shrunk_vit_l_ade20k_640_160k"}
VIT_L = dict(C=1024, W=512, K=150, G=40, D=24, P=16)
INNER_LOSS = "decode_head.atm.loss_decode.criterion.empty_weight"
DROPPED = {
    "plain": ["backbone.cls_token", "decode_head.loss_decode.criterion.empty_weight"],
    "shrunk": ["backbone.cls_token", "decode_head.loss_decode.criterion.empty_weight", INNER_LOSS],
}


def build(variant, *overrides):
    return instantiate(load_config(str(CONFIGS / f"{FILES[variant]}.py"), overrides).model)


def tiny(variant):
    """Four blocks of 24 channels and a head of 12, 5 classes, an input of 64 pixels."""
    taps = {
        "plain": ["model.backbone.out_blocks=[0,1,3]"],
        "shrunk": ["model.backbone.out_blocks=[1,3]", "model.backbone.downsample.block=2"],
    }
    return build(
        variant,
        "dataset={crop: 64, num_classes: 5}",
        "vit={channels: 24, last_block: 3}",
        "decoder={width: 12, num_heads: 2}",
        "model.inference.stride=43",
        "model.backbone.timm_args={embed_dim: 24, depth: 4, num_heads: 3}",
        *taps[variant],
    ).eval()


@pytest.fixture
def released(released_shapes):
    def read(variant, **sizes):
        files = ("backbones/mmseg_vit.txt", "segvit/released_heads.txt")
        return {name: shape for file in files for name, shape in released_shapes(file, variant, **sizes).items()}

    return read


def convert_for(model, state):
    rules = [*mmseg_vit_rules(model.backbone), *segvit_rules(model.sem_seg_head)]
    return convert(state, model.state_dict(), rules)


def on_meta(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("variant", FILES)
def test_every_weight_has_its_place(variant, released):
    with shapes_only():
        model = build(variant)
    shapes = released(variant, **VIT_L)
    converted, dropped = convert_for(model, on_meta(shapes))
    assert dropped == DROPPED[variant]
    packed = sum("in_proj" in name and name.startswith("decode_head") for name in shapes)
    assert len(converted) == len(shapes) - len(dropped) + 2 * packed
    model.load_state_dict(converted, assign=True)


def test_another_experiment_is_told(released):
    with shapes_only():
        model = build("plain")
    with pytest.raises(ValueError, match=r"that no rule matches: .*; 1 of another shape: decode_head\.q\.weight"):
        convert_for(model, on_meta(released("shrunk", **VIT_L)))
    with shapes_only():
        model = build("shrunk", "dataset.crop=512", "model.inference.stride=341")
    with pytest.raises(
        ValueError, match=r"of another shape: backbone\.pos_embed .*decode_head\.q\.weight \(1600, 512\)"
    ):
        convert_for(model, on_meta(released("shrunk", **VIT_L)))


def test_bases_of_ones_own_are_told():
    with shapes_only():
        head = build("plain").sem_seg_head
    head.bases = torch.nn.Identity()
    with pytest.raises(ValueError, match="bases are Identity; wanted those of SegViT on a ViT"):
        segvit_rules(head)


THEIRS = {
    "plain": [0.42337078, 0.11764686, 0.96138800, 0.10842312, 0.34731720],
    "shrunk": [0.87430573, 0.35203662, 0.36038569, 0.30657606, 0.14162514],
}


@pytest.mark.parametrize("variant", FILES)
def test_scores_equal_those_of_the_authors_code(variant, released):
    model = tiny(variant)
    shapes = released(variant, C=24, W=12, K=5, G=4, D=4, P=16)
    # the inner loss goes last: no weight that counts takes its number from it
    names = sorted(shapes, key=lambda name: (name == INNER_LOSS, name))
    state = {name: closed_form(name, shapes[name], place) for place, name in enumerate(names, 1)}
    model.load_state_dict(convert_for(model, state)[0])
    with torch.no_grad():
        scores, _ = model.sem_seg_head(model.backbone(wave((1, 3, 64, 64), 3).float()))
    assert scores[0, :, 20, 37].tolist() == pytest.approx(THEIRS[variant], abs=1e-5)
