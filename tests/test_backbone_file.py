"""A trained backbone leaves its model, travels in a file, and finds its place in another one."""

import functools
import logging
from pathlib import Path

import pytest
import torch
from detectron2.modeling import FPN, GeneralizedRCNN
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import nn

from tokenseg import load_backbone, save_backbone
from tokenseg.backbone_file import export_backbone, read_backbone
from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.backbones.simple_pyramid import SimplePyramid
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor, pad_to_batch
from tokenseg.segvit.shrunk import NearestSampling, QueryDownsample
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.sgr.reasoning import SemanticReasoning

PIXELS = dict(pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375])
RESNET = dict(stem_type="deep", stem_width=4, layers=[1, 1, 1, 3], channels=[4, 8, 16, 32])
SWIN = dict(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4)
VIT = dict(embed_dim=24, depth=2, num_heads=2)
SWIN_T, VIT_T = "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"


def resnet(name="resnet50", **args):
    return TimmPyramid(**(dict(model_name=name, pretrained=False, timm_args=RESNET, output_stride=16) | args))


def swin(**args):
    return TimmPyramid(**(dict(model_name=SWIN_T, pretrained=False, timm_args=SWIN) | args))


def vit(**args):
    timm_args = VIT | args.pop("timm_args", {})
    defaults = dict(model_name=VIT_T, img_size=64, out_blocks=[1], pretrained=False)
    return PlainViT(**(defaults | args), timm_args=timm_args)


def sgr(**args):
    return SemanticReasoning(**(dict(channels=128, num_concepts=4, width=8, num_heads=2) | args))


def with_component(backbone, component=None):
    return ReasoningBackbone(backbone=backbone, components={"res5": component or sgr()})


def trained(model):
    """A model with numbers unlike fresh ones."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else 0.1 * torch.randn_like(value))
    return model.eval()


def segmentor(backbone, **args):
    feature = list(backbone.output_shape())[-1]
    layers = nn.Conv2d(backbone.output_shape()[feature].channels, 2, 1)
    head = PerPixelHead(in_feature=feature, layers=layers)
    return trained(Segmentor(backbone=backbone, sem_seg_head=head, **(PIXELS | args)))


def detector(backbone, **args):
    parts = dict(proposal_generator=nn.Identity(), roi_heads=nn.Identity())
    return GeneralizedRCNN(backbone=backbone, **parts, **(PIXELS | args)).eval()


@pytest.fixture
def exported(tmp_path):
    """Function that exports the backbone of a model to a file and returns its path."""

    def export(model, **args):
        path = str(tmp_path / "backbone.safetensors")
        save_backbone(model, path, **(dict(image_format="RGB", run=dict(output_dir="run", iteration=7)) | args))
        return path

    return export


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Function from what builds a backbone to the exported file of a segmentor with it, made once."""

    @functools.cache
    def path(build):
        file = str(tmp_path_factory.mktemp("exported") / "backbone.safetensors")
        save_backbone(segmentor(build()), file, image_format="RGB", run=dict(output_dir="run", iteration=7))
        return file

    return path


def resnet_with_sgr():
    return with_component(resnet())


def fpn(bottom_up):
    return FPN(bottom_up=bottom_up, in_features=["res2", "res3", "res4", "res5"], out_channels=8)


PLACES = {
    "DC5": (detector, "backbone.backbone.", "backbone.components."),
    "FPN": (lambda backbone: detector(fpn(backbone)), "backbone.bottom_up.backbone.", "backbone.bottom_up.components."),
    "alone": (lambda backbone: backbone, "backbone.", "components."),
    "parallel": (nn.DataParallel, "module.backbone.", "module.components."),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_weight_finds_its_place(place, exported):
    wrap, trunk, component = PLACES[place]
    source = segmentor(with_component(resnet(output_stride=32)))
    path, target = exported(source), wrap(with_component(resnet(output_stride=32, norm="FrozenBN")))
    load_backbone(target, path)
    state, wanted = target.state_dict(), source.state_dict()
    inside = [name for name in wanted if name.startswith("backbone.") and "num_batches" not in name]
    assert len(inside) == len(load_file(path)) > 100
    for name in inside:
        place = name.replace("backbone.backbone.", trunk).replace("backbone.components.", component)
        assert torch.equal(state[place], wanted[name]), name


@pytest.mark.parametrize(("norm", "tolerance"), [("BN", 0.0), ("FrozenBN", 1e-5)])
@pytest.mark.parametrize("component", [sgr, lambda: GloRe(channels=128)])
def test_detection_sees_the_maps_of_segmentation(component, norm, tolerance, exported):
    source = segmentor(with_component(resnet(norm="SyncBN"), component()))
    target = detector(with_component(resnet(norm=norm), component()))
    load_backbone(target, exported(source))
    record = [{"image": torch.randint(0, 256, (3, 75, 90))}]
    batch, _ = pad_to_batch(source.normalised(record), source.backbone)
    with torch.no_grad():
        ours, theirs = source.backbone(batch), target.backbone(target.preprocess_image(record).tensor)
    assert list(ours) == ["res2", "res3", "res4", "res5", "res5_regions"]
    torch.testing.assert_close(theirs, ours, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("class_token", [True, False])
def test_a_plain_vit_goes_below_a_pyramid(class_token, exported):
    args = {"class_token": class_token}
    source, net = segmentor(vit(timm_args=args)), vit(timm_args=args, window_size=2)  # its windows need no others
    load_backbone(detector(SimplePyramid(net=net, in_feature="block1", out_channels=8)), exported(source))
    state, wanted = net.state_dict(), source.backbone.state_dict()
    assert ("vit.cls_token" in state) == class_token
    assert state.keys() == wanted.keys() and all(torch.equal(state[name], value) for name, value in wanted.items())


def test_position_codes_are_resampled_by_timms_rules(exported):
    source, target = segmentor(vit(out_blocks=[0])), vit(img_size=96, out_blocks=[0])
    load_backbone(target, exported(source))
    codes = source.backbone.vit.pos_embed
    wanted = resample_abs_pos_embed(codes, new_size=[6, 6], num_prefix_tokens=1)
    assert target.vit.pos_embed.shape == (1, 37, 24)
    torch.testing.assert_close(target.vit.pos_embed, wanted)
    assert torch.equal(target.vit.cls_token, source.backbone.vit.cls_token)


def halving():
    return vit(downsample=QueryDownsample(block=1, sample=NearestSampling()))


def test_a_vit_that_halves_its_grid_begins_from_one_that_does_not(exported, caplog):
    source, target = segmentor(vit()), halving()
    with caplog.at_level(logging.INFO):
        load_backbone(target, exported(source))
    assert torch.equal(target.vit.blocks[1].mlp.fc1.weight, source.backbone.vit.blocks[1].mlp.fc1.weight)
    assert "trained without the QueryDownsample in block 1 of this model" in caplog.text
    with pytest.raises(ValueError, match="downsample is QueryDownsample in block 1 in the file, None in the model"):
        load_backbone(vit(), exported(segmentor(target)))


def test_relative_positions_are_resampled_too(exported):
    beit = dict(model_name="beit_base_patch16_224", out_blocks=[0])
    target = vit(img_size=96, **beit)
    path = exported(segmentor(vit(**beit)))
    load_backbone(target, path)
    name = "vit.blocks.0.attn.relative_position_bias_table"
    wanted = resize_rel_pos_bias_table(load_file(path)[f"backbone.{name}"], (6, 6), (11 * 11 + 3, 2))
    torch.testing.assert_close(target.state_dict()[name], wanted)


BGR = PIXELS["pixel_mean"][::-1]
# What is exported, what it is loaded into, and what the error says.
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
    "reversed mean": (resnet, lambda: detector(resnet(), pixel_mean=BGR), "the mean is the file's in reverse"),
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
    assert "trained at output stride 8, and has 16 in this model" in caplog.text


def test_an_undilated_file_has_no_say_in_the_multi_grid(exported):
    source, model = segmentor(resnet(output_stride=32)), detector(resnet(multi_grid=[1, 1, 1]))
    load_backbone(model, exported(source), accept_stride=32)
    assert torch.equal(model.backbone.trunk.conv1[0].weight, source.backbone.trunk.conv1[0].weight)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (resnet, "has a component on the map res5, SemanticReasoning, and the model has none; wanted .*drop_component"),
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


def test_a_component_that_the_file_lacks_begins_fresh(file_of, caplog):
    model = with_component(resnet())
    fresh = {name: value.clone() for name, value in model.components.state_dict().items()}
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_backbone(model, file_of(resnet))
    assert "The component SemanticReasoning on res5 begins fresh" in caplog.text
    assert "weights, run: output_dir run, iteration 7" in caplog.text
    assert all(torch.equal(value, fresh[name]) for name, value in model.components.state_dict().items())


def test_a_backbone_that_was_loaded_asks_for_no_pretrained_weights(file_of):
    model = with_component(resnet(pretrained=True)).train()
    with pytest.raises(ValueError, match="is to begin from pretrained weights"):
        model(torch.rand(1, 3, 32, 32))
    load_backbone(model, file_of(resnet))
    assert model(torch.rand(2, 3, 32, 32))["res5"].shape == (2, 128, 2, 2)
    assert not model.backbone.pretrained


def test_frozen_batch_norms_come_back_to_life(exported):
    source, target = segmentor(resnet(norm="FrozenBN")), resnet(norm="BN")
    load_backbone(target, exported(source))
    state = target.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.backbone.state_dict().items())
    assert state["trunk.bn1.num_batches_tracked"] == 0


def test_the_facts_travel(exported):
    path = exported(segmentor(with_component(resnet(multi_grid=[1, 2, 4]))))
    facts = read_backbone(path, facts_alone=True).facts
    assert facts["backbone"]["kind"] == "TimmPyramid" and facts["backbone"]["multi_grid"] == [1, 2, 4]
    assert facts["backbone"]["timm_args"] == RESNET
    assert facts["components"]["res5"]["kind"] == "SemanticReasoning"
    assert facts["pixels"] == {"mean": PIXELS["pixel_mean"], "std": PIXELS["pixel_std"], "image_format": "RGB"}
    assert facts["run"] == {"output_dir": "run", "iteration": 7}


def test_others_may_read_the_file(exported, tmp_path):
    (tmp_path / "ordinary").touch()
    assert Path(exported(segmentor(resnet()))).stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_models_without_one_backbone_are_refused(exported):
    for model, told in (
        (detector(nn.Identity()), "can be exported: none; wanted one"),
        (detector(nn.Sequential(resnet(), resnet())), r"backbone.0 \(TimmPyramid\), backbone.1 \(TimmPyramid\)"),
        (resnet(), "TimmPyramid has no pixel_mean"),
        (segmentor(with_component(with_component(resnet()))), "two components lie on the map res5"),
    ):
        with pytest.raises(ValueError, match=told):
            exported(model)
    with pytest.raises(ValueError, match="image_format is 'L'; wanted RGB or BGR"):
        exported(segmentor(resnet()), image_format="L")


def test_a_component_on_an_fpn_stays_with_it(exported):
    around = ReasoningBackbone(backbone=fpn(resnet(output_stride=32)), components={"p5": sgr(channels=8)})
    assert not [name for name in load_file(exported(detector(around))) if name.startswith("components")]


def test_checkpoints_that_lack_weights_are_refused():
    model, plain = segmentor(with_component(resnet())), segmentor(resnet())
    with pytest.raises(ValueError, match=r"holds no backbone of this model: none of its .* such as backbone.backbone"):
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
        (tmp_path / "model.pth", "no exported backbone .* for train.init_checkpoint"),
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
