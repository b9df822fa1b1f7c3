"""Files and models that do not fit one another are refused, with messages that name the differences."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from small_backbones import (
    PIXELS,
    RESNET,
    SWIN,
    detector,
    resnet,
    resnet_with_sgr,
    segmentor,
    sgr,
    swin,
    vit,
    with_component,
)
from tokenseg import load_backbone
from tokenseg.backbone_file import export_backbone
from tokenseg.sgr.glore import GloRe

BGR = PIXELS["pixel_mean"][::-1]


# The exported backbone, the model to load it into, and the error message.
DIFFERENT = {
    "mean": (
        resnet,
        lambda: detector(resnet(), pixel_mean=[0.0] * 3),
        r"pixels' mean is \[123.675, .* in the file, \[0",
    ),
    "std": (
        resnet,
        lambda: detector(resnet(), pixel_std=[1.0] * 3),
        r"std is \[58.* in the file, \[1.0, 1.0, 1.0\] in",
    ),
    "reversed mean": (resnet, lambda: detector(resnet(), pixel_mean=BGR), "the mean is that of the file in reverse"),
    "order": (resnet, lambda: detector(resnet(), input_format="BGR"), "image_format is RGB in the file, BGR in"),
    "stem": (
        resnet,
        lambda: detector(resnet(timm_args=RESNET | {"stem_width": 8})),
        r"stem is conv1.0.weight \(4, 3, 3, 3\) in the file, conv1.0.weight \(8, 3, 3, 3\) in the model",
    ),
    "name": (resnet, lambda: detector(resnet("resnet101")), "model_name is resnet50 in the file, resnet101 in the"),
    "kind": (resnet, lambda: detector(vit()), "kind is TimmPyramid in the file, PlainViT in the model"),
    "stride": (
        resnet,
        lambda: detector(resnet(output_stride=8)),
        r"output_stride is 16 in the file, 8 in the model \(accept_stride=16",
    ),
    "multi-grid": (
        resnet,
        lambda: detector(resnet(multi_grid=[1, 2, 4])),
        r"multi_grid is None in the file, \[1, 2, 4",
    ),
    "first block": (resnet, lambda: detector(resnet(multi_grid=[1, 1, 1])), r"multi_grid is None in the file, \[1, 1"),
    "stages": (resnet, lambda: detector(resnet(out_features=["res4"])), "no place in the model: backbone.trunk.layer4"),
    "fewer": (
        lambda: resnet(out_features=["res4"]),
        lambda: detector(resnet()),
        "not in the file: backbone.trunk.layer4",
    ),
    "padding": (
        swin,
        lambda: detector(swin(window_padding="after_shift")),
        "window_padding is before_shift in the file, after_shift in the model",
    ),
    "norms": (swin, lambda: detector(swin(out_norm=True)), "out_norm is False in the file, True in the model"),
    "attention heads": (
        swin,
        lambda: detector(swin(timm_args=SWIN | {"num_heads": [2, 2, 2, 4]})),
        r"timm_args is .*'num_heads': \[1, 2, 2, 4\].* in the file, .*'num_heads': \[2, 2, 2, 4\]",
    ),
    "class token": (
        vit,
        lambda: detector(vit(timm_args={"class_token": False})),
        "class_token is True in the file, False in the model; prefix_tokens is 1 in the file, 0 in the model",
    ),
    "patch": (vit, lambda: detector(vit(timm_args={"patch_size": 8})), "patch is 16 in the file, 8 in the model"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_backbone_is_refused(case, file_of):
    source, target, told = DIFFERENT[case]
    model = target()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"^the backbone in '.*' does not fit GeneralizedRCNN: .*{told}"):
        load_backbone(model, file_of(source))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_order_of_the_channels_that_is_given_counts(exported):
    path, model = exported(segmentor(resnet()), image_format="BGR"), detector(resnet())
    with pytest.raises(ValueError, match="image_format is BGR in the file, RGB in the model"):
        load_backbone(model, path, image_format="RGB")
    load_backbone(model, path, image_format="BGR")
    assert not model.backbone.pretrained


def test_a_stride_is_accepted_by_its_number(exported, caplog):
    path, model = exported(segmentor(resnet(output_stride=8))), detector(resnet(output_stride=16))
    with pytest.raises(ValueError, match="accept_stride is 32, but the file's output stride is 8"):
        load_backbone(model, path, accept_stride=32)
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_backbone(model, path, accept_stride=8)
    assert "trained at output stride 8, but has 16 in this model" in caplog.text


def test_an_undilated_file_has_no_say_in_the_multi_grid(exported):
    source, model = segmentor(resnet(output_stride=32)), detector(resnet(multi_grid=[1, 1, 1]))
    load_backbone(model, exported(source), accept_stride=32)
    assert torch.equal(model.backbone.trunk.conv1[0].weight, source.backbone.trunk.conv1[0].weight)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (resnet, "has a component on the map res5, SemanticReasoning, but the model has none; wanted .*drop_component"),
        (lambda: with_component(resnet(), GloRe(channels=128)), "component on res5: kind is SemanticReasoning in the"),
        (
            lambda: with_component(resnet(), sgr(num_heads=4)),
            r"num_heads is \[2, 2\] in the file, \[4, 4\] in the model",
        ),
        (lambda: with_component(resnet(), sgr(token_aggregation="sum")), "token_aggregation is mean in the file, sum"),
        (lambda: with_component(resnet(), sgr(num_concepts=8)), r"concepts.weight \(4, 256\), wanted \(8, 256\)"),
        (lambda: with_component(resnet(), sgr(num_layers=1)), r"num_heads is \[2, 2\] in the file, \[2\] in the model"),
        (lambda: with_component(resnet(), sgr(reasoning="graph")), r"num_heads is \[2, 2\] in the file, \[\] in the"),
    ],
)
def test_another_component_is_refused_unless_it_is_left_out(target, told, file_of):
    path, model = file_of(resnet_with_sgr), target()
    with pytest.raises(ValueError, match=told):
        load_backbone(model, path)
    load_backbone(model, path, drop_component=True)
    trunk = dict(model.named_modules()).get("backbone", model).trunk
    assert torch.equal(trunk.conv1[0].weight, load_file(path)["backbone.trunk.conv1.0.weight"])


def test_models_without_one_backbone_are_refused(exported):
    for model, told in (
        (detector(nn.Identity()), "can be exported: none; wanted exactly one"),
        (detector(nn.Sequential(resnet(), resnet())), r"backbone.0 \(TimmPyramid\), backbone.1 \(TimmPyramid\)"),
        (resnet(), "TimmPyramid has no pixel_mean"),
        (segmentor(with_component(with_component(resnet()))), "two components on the map res5"),
    ):
        with pytest.raises(ValueError, match=told):
            exported(model)
    with pytest.raises(ValueError, match="image_format is 'L'; wanted RGB or BGR"):
        exported(segmentor(resnet()), image_format="L")


def test_checkpoints_that_lack_weights_are_refused():
    model, plain = segmentor(with_component(resnet())), segmentor(resnet())
    with pytest.raises(
        ValueError, match=r"contains no backbone of this model: none of its .* such as backbone.backbone"
    ):
        export_backbone(model, image_format="RGB", state=plain.state_dict())
    state = model.state_dict()
    del state["backbone.backbone.trunk.bn1.running_mean"], state["backbone.components.res5.back.bias"]
    with pytest.raises(
        ValueError, match=r"lacks 2 of the backbone's \d+ weights: backbone.backbone.trunk.bn1.running_m"
    ):
        export_backbone(model, image_format="RGB", state=state)
    state = plain.state_dict()
    state["backbone.trunk.conv1.0.weight"] = torch.zeros(8, 3, 3, 3)
    with pytest.raises(ValueError, match=r"conv1.0.weight \(8, 3, 3, 3\), wanted \(4, 3, 3, 3\)"):
        export_backbone(plain, image_format="RGB", state=state)


def test_other_files_are_refused(file_of, tmp_path):
    model = segmentor(resnet())
    path, other = file_of(resnet), tmp_path / "other.safetensors"
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    save_file({"conv1.weight": torch.zeros(1)}, other)
    for file, told in (
        (tmp_path / "model.pth", "not an exported backbone .*set train.init_checkpoint"),
        (other, "without the facts of an exported backbone"),
        (tmp_path / "nothing", "do not exist"),
        (tmp_path, "are a folder"),
    ):
        with pytest.raises(ValueError, match=told):
            load_backbone(model, str(file))
    whole = Path(path).read_bytes()
    other.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"cannot be read: .*; wanted the file as it was written"):
        load_backbone(model, str(other))
    other.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    with pytest.raises(ValueError, match="is damaged: its weights are not those that were written"):
        load_backbone(model, str(other))
    other.write_bytes(whole.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(ValueError, match="has version 2 of the format; wanted version 1"):
        load_backbone(model, str(other))
