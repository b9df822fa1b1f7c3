"""Freezing of the stem and the first stages."""

import pytest
import torch

from tokenseg.backbones.pyramid import TimmPyramid

RESNET = dict(model_name="resnet50", timm_args=dict(layers=(1, 1, 1, 2), channels=(8, 8, 8, 8)))
SWIN = dict(embed_dim=8, depths=(1, 1, 1, 2), num_heads=(1, 1, 1, 1), window_size=2)
CONVNEXT = dict(depths=(1, 1, 1, 2), dims=(8, 16, 24, 32))
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
# Models, and the beginnings of the names of the parameters in each of their parts.
PARTS = [
    (
        dict(model_name="swin_tiny_patch4_window7_224", timm_args=SWIN),
        ["patch_embed", *(f"layers.{i}" for i in range(4))],
    ),
    (RESNET, [("conv1", "bn1"), *LAYERS]),
    (RESNET | dict(model_name="resnet101s"), [("conv1", "bn1"), *LAYERS]),
    (dict(model_name="convnext_tiny", timm_args=CONVNEXT), ["stem", *(f"stages.{i}" for i in range(4))]),
]


@pytest.mark.parametrize(("model", "parts"), PARTS)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_first_parts_are_frozen(model, parts, count):
    trunk = TimmPyramid(**model, freeze_at=count).trunk
    for place, names in enumerate(parts):
        learns = {p.requires_grad for name, p in trunk.named_parameters() if name.startswith(names)}
        assert learns == {place >= count}, names


def test_frozen_norms_keep_their_statistics():
    backbone = TimmPyramid(**RESNET, freeze_at=2, norm="SyncBN")
    backbone.pretrained = False
    before = {name: value.clone() for name, value in backbone.trunk.state_dict().items()}
    sum(x.mean() for x in backbone.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    after = backbone.trunk.state_dict()
    assert {name.split(".")[0] for name in after if not after[name].equal(before[name])} == {*LAYERS[1:]}
    backbone.load_state_dict(TimmPyramid(**RESNET).state_dict())  # freezing does not change the names


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(freeze_at=6, pretrained=True), r"freeze_at is 6; wanted 0 .*up to 5"),
        (dict(freeze_at=-1, pretrained=True), "freeze_at is -1"),
        (dict(freeze_at=2, pretrained=False), "freeze_at is 2, but pretrained is false.*wanted freeze_at=0"),
    ],
)
def test_what_does_not_fit_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        TimmPyramid(**RESNET, **args)
