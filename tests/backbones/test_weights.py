"""Pretrained weights from files of timm and of the models' authors, and from the hub, with and without network."""

import copy
import logging
import socket
import time

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file

from tokenseg import weight_sources
from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.pyramid import TimmPyramid

VIT = dict(embed_dim=48, depth=2, num_heads=3)
SWIN = dict(embed_dim=8, depths=(1, 1, 1, 2), num_heads=(1, 1, 1, 1))
# The published model and its size, and the backbone of another size that loads it.
CASES = {
    "vit": ("vit_tiny_patch16_224", VIT | dict(img_size=64), PlainViT, 80),
    "dinov2": ("vit_small_patch14_reg4_dinov2", VIT | dict(img_size=56), PlainViT, 84),
    "dinov3": ("vit_small_patch16_dinov3", VIT, PlainViT, 80),
    "eva02": ("eva02_tiny_patch14_224", VIT | dict(img_size=56), PlainViT, 84),
    "beit": ("beit_base_patch16_224", VIT | dict(img_size=64), PlainViT, 80),
    "swin": ("swin_tiny_patch4_window7_224", SWIN, TimmPyramid, None),
    "resnet": ("resnet50", dict(layers=(1, 1, 1, 1)), TimmPyramid, None),
    "convnext": ("convnext_tiny", dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)), TimmPyramid, None),
}


def published(family):
    """Build the whole model that somebody published, with a head of 1000 classes, and weights unlike initial ones."""
    name, args, _, _ = CASES[family]
    model = timm.create_model(name, **args)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def backbone_for(family, file="", **args):
    name, timm_args, build, size = CASES[family]
    timm_args = {key: value for key, value in timm_args.items() if key != "img_size"}
    if build is PlainViT:
        args = dict(img_size=size, out_blocks=[0]) | args
    return build(model_name=name, timm_args=timm_args, weights_file=str(file), **args)


def timm_model(backbone):
    return backbone.vit if isinstance(backbone, PlainViT) else backbone.trunk


@pytest.mark.parametrize("family", CASES)
def test_files_load_as_timm_loads_them(family, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    name, args, _, size = CASES[family]
    file = tmp_path / "model.safetensors"
    save_file(published(family).state_dict(), file)
    backbone = backbone_for(family, file)
    assert backbone.pretrained
    backbone.load_pretrained()
    wanted = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(file)),
        num_classes=0,
        **args | (dict(img_size=size) if size else {}),
    ).state_dict()
    got = timm_model(backbone).state_dict()
    torch.testing.assert_close(got, {key: wanted[key] for key in got})
    assert f"{len(got)} of the backbone's {len(got)} weights loaded" in caplog.text
    assert "Weights in the file that the backbone does not need:" in caplog.text
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(("family", "channels"), [("vit", 4), ("swin", 1), ("resnet", 7)])
def test_stems_are_inflated_as_timm_does_it(family, channels, tmp_path):
    name, args, _, size = CASES[family]
    file = tmp_path / "model.safetensors"
    save_file(published(family).state_dict(), file)
    backbone = backbone_for(family, file, in_chans=channels)
    backbone.load_pretrained()
    args = args | (dict(img_size=size) if size else {})
    overlay = dict(file=str(file))
    wanted = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, in_chans=channels, **args
    ).state_dict()
    got = timm_model(backbone).state_dict()
    torch.testing.assert_close(got, {key: wanted[key] for key in got})
    side = backbone.size_divisibility * 2
    maps = backbone.eval()(torch.rand(1, channels, side, side))
    assert all(m.isfinite().all() for m in maps.values()) and backbone.facts()["timm_args"]["in_chans"] == channels


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_pth_files(wrap, tmp_path):
    model = published("resnet")
    torch.save(wrap(model.state_dict()), tmp_path / "weights.pth")
    backbone = backbone_for("resnet", tmp_path / "weights.pth", norm="FrozenBN", out_features=["res3"])
    backbone.load_pretrained()
    assert torch.equal(backbone.trunk.layer2[0].conv1.weight, model.layer2[0].conv1.weight)


def test_npz_files_of_google(tmp_path):
    state = {
        "embedding/kernel": np.random.randn(16, 16, 3, 48),
        "embedding/bias": np.random.randn(48),
        "cls": np.random.randn(1, 1, 48),
        "Transformer/posembed_input/pos_embedding": np.random.randn(1, 17, 48),
        "Transformer/encoder_norm/scale": np.random.randn(48),
        "head/kernel": np.random.randn(48, 1000),
    }
    for block in range(2):
        prefix = f"Transformer/encoderblock_{block}/"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            state |= {f"{prefix}{norm}/{part}": np.random.randn(48) for part in ("scale", "bias")}
        for part in ("query", "key", "value"):
            state[f"{prefix}MultiHeadDotProductAttention_1/{part}/kernel"] = np.random.randn(48, 3, 16)
            state[f"{prefix}MultiHeadDotProductAttention_1/{part}/bias"] = np.random.randn(3, 16)
        state[f"{prefix}MultiHeadDotProductAttention_1/out/kernel"] = np.random.randn(3, 16, 48)
        state[f"{prefix}MultiHeadDotProductAttention_1/out/bias"] = np.random.randn(48)
        for layer, shape in ((0, (48, 192)), (1, (192, 48))):
            state[f"{prefix}MlpBlock_3/Dense_{layer}/kernel"] = np.random.randn(*shape)
            state[f"{prefix}MlpBlock_3/Dense_{layer}/bias"] = np.random.randn(shape[1])
    file = tmp_path / "ViT.npz"
    np.savez(file, **{key: value.astype(np.float32) for key, value in state.items()})
    backbone = backbone_for("vit", file)
    backbone.load_pretrained()
    kernel = torch.from_numpy(state["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"]).float()
    assert torch.equal(backbone.vit.blocks[0].mlp.fc1.weight, kernel.T)
    assert backbone.vit.pos_embed.shape == (1, 26, 48)
    with pytest.raises(ValueError, match=r"\.npz files only for ViTs"):
        backbone_for("beit", file).load_pretrained()


def test_a_model_without_class_token_leaves_its_code_out(tmp_path):
    model = published("vit")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    backbone = PlainViT(
        model_name="vit_tiny_patch16_224",
        img_size=64,
        out_blocks=[0],
        weights_file=str(tmp_path / "weights.pth"),
        timm_args=VIT | dict(class_token=False),
    )
    backbone.load_pretrained()
    assert torch.equal(backbone.vit.pos_embed, model.pos_embed[:, 1:])


def test_what_is_missing_or_unknown_is_listed(tmp_path, caplog):
    state = published("vit").state_dict()
    del state["blocks.0.mlp.fc1.bias"]
    torch.save(state | {"blocks.0.attn.extra": torch.zeros(1)}, tmp_path / "weights.pth")
    backbone_for("vit", tmp_path / "weights.pth").load_pretrained()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "1 weights missing in the file:\n  blocks.0.mlp.fc1.bias",
        "1 weights unknown to the model:\n  blocks.0.attn.extra",
    ]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"backbone.vit.cls_token": torch.zeros(1, 1, 48)}, "holds none of its 16 weights.*train.init_checkpoint"),
        ({"cls_token": torch.zeros(1, 1, 64)}, r"of another shape: cls_token \(1, 1, 64\), wanted \(1, 1, 48\)"),
        ({"pos_embed": torch.zeros(3)}, "cannot be read as weights of vit_tiny_patch16_224"),
        ({"cls_token": slice(3)}, "cannot be read as weights.*weights_only"),
    ],
)
def test_weights_of_something_else(state, message, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        backbone_for("vit", tmp_path / "weights.pth").load_pretrained()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.pth' does not exist \(looked in "):
        backbone_for("vit", "nothing.pth").load_pretrained()
    (tmp_path / "text.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        backbone_for("vit", tmp_path / "text.safetensors").load_pretrained()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache, and a hub that refuses connections."""
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weight_sources.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(weight_sources, "PATIENCE", 0.5)
    return tmp_path / "hub"


HOW = (
    "no weights for vit_tiny_patch16_224: .* Download model.safetensors from http://127.0.0.1:[0-9]+/"
    "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k elsewhere and set model.backbone.weights_file=FILE"
)


def test_without_network_it_says_what_to_do(hub):
    start = time.monotonic()
    with pytest.raises(ValueError, match=HOW + ".*pretrained=false") as error:
        backbone_for("vit").load_pretrained()
    assert time.monotonic() - start < 10
    assert "http://127.0.0.1:9 cannot be reached" in str(error.value) and str(hub) in str(error.value)


def test_a_hub_that_hangs(hub, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(weight_sources.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(ValueError, match=HOW):
            backbone_for("vit").load_pretrained()
    assert time.monotonic() - start < 10


def test_offline_mode_is_respected(hub, monkeypatch):
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="offline mode is enabled"):
        backbone_for("vit").load_pretrained()


def test_the_cache_comes_first(hub):
    model = published("vit")
    folder = hub / "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    for part in ("refs", "snapshots/0123"):
        (folder / part).mkdir(parents=True)
    (folder / "refs/main").write_text("0123")
    save_file(model.state_dict(), folder / "snapshots/0123/model.safetensors")
    backbone = backbone_for("vit", img_size=64)
    backbone.load_pretrained()
    assert torch.equal(backbone.vit.pos_embed, model.pos_embed)


def test_downloads(hub, tmp_path, monkeypatch):
    asked, file = [], tmp_path / "pytorch_model.bin"
    torch.save(published("vit").state_dict(), file)

    def download(repository, name, *, revision):
        asked.append((repository, name, revision))
        if name == "model.safetensors":
            raise EntryNotFoundError("not there")
        return str(file)

    monkeypatch.setattr(weight_sources, "_obstacle_to_hub", lambda: "")
    monkeypatch.setattr(weight_sources, "hf_hub_download", download)
    backbone_for("vit").load_pretrained()
    repository = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert asked == [(repository, "model.safetensors", None), (repository, "pytorch_model.bin", None)]


def test_a_download_that_breaks_off(hub, monkeypatch):
    def download(*_, **__):
        raise ConnectionError("peer closed connection")

    monkeypatch.setattr(weight_sources, "_obstacle_to_hub", lambda: "")
    monkeypatch.setattr(weight_sources, "hf_hub_download", download)
    with pytest.raises(ValueError, match=r"the download failed: peer closed.*weights_file=FILE"):
        backbone_for("vit").load_pretrained()


def test_models_that_nobody_pretrained():
    backbone = PlainViT(model_name="vit_base_patch16_plus_240", img_size=32, out_blocks=[0], timm_args=VIT)
    with pytest.raises(ValueError, match=r"timm knows no weights of vit_base_patch16_plus_240.*none at all"):
        backbone.load_pretrained()


def trained_step(backbone):
    backbone.train()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_training_from_random_weights_by_accident_is_told(family, tmp_path):
    """There is no error in evaluation, without gradients, or if random weights are intended."""
    backbone = backbone_for(family)
    with pytest.raises(ValueError, match=r"should start from pretrained weights.*model\.backbone\.pretrained=false"):
        trained_step(backbone)
    with torch.no_grad():
        trained_step(backbone)
    backbone.eval()(torch.zeros(1, 3, 64, 64))
    backbone.pretrained = False
    trained_step(backbone)


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_weights_of_a_checkpoint_count_if_they_are_the_backbones(family):
    model = torch.nn.ModuleDict({"backbone": copy.deepcopy(backbone_for(family)), "head": torch.nn.Linear(1, 1)})
    head = {key: value for key, value in model.state_dict().items() if key.startswith("head")}
    model.load_state_dict(head, strict=False)
    with pytest.raises(ValueError, match="nothing was loaded"):
        trained_step(model["backbone"])
    model.load_state_dict(model.state_dict())
    trained_step(model["backbone"])
