"""A trained backbone is exported to a file and loaded into another model."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import nn

from small_backbones import (
    PIXELS,
    RESNET,
    detector,
    fpn,
    resnet,
    segmentor,
    sgr,
    vit,
    with_component,
)
from tokenseg import load_backbone
from tokenseg.backbone_file import read_backbone
from tokenseg.backbones.simple_pyramid import SimplePyramid
from tokenseg.segmentor import pad_to_batch
from tokenseg.segvit.shrunk import ConvSampling, NearestSampling, QueryDownsample
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone

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


def test_a_convolution_that_halves_the_grid_keeps_its_first_weights(exported):
    source, target = segmentor(vit()), vit(downsample=QueryDownsample(block=1, sample=ConvSampling(channels=24)))
    before = target.downsample.sample.conv.weight.clone()
    load_backbone(target, exported(source))
    assert torch.equal(target.downsample.sample.conv.weight, before)
    assert torch.equal(target.vit.blocks[1].mlp.fc1.weight, source.backbone.vit.blocks[1].mlp.fc1.weight)


def test_relative_positions_are_resampled_too(exported):
    beit = dict(model_name="beit_base_patch16_224", out_blocks=[0])
    target = vit(img_size=96, **beit)
    path = exported(segmentor(vit(**beit)))
    load_backbone(target, path)
    name = "vit.blocks.0.attn.relative_position_bias_table"
    wanted = resize_rel_pos_bias_table(load_file(path)[f"backbone.{name}"], (6, 6), (11 * 11 + 3, 2))
    torch.testing.assert_close(target.state_dict()[name], wanted)


def test_a_component_that_the_file_lacks_begins_fresh(file_of, caplog):
    model = with_component(resnet())
    fresh = {name: value.clone() for name, value in model.components.state_dict().items()}
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_backbone(model, file_of(resnet))
    assert "The component SemanticReasoning on res5 keeps its initial weights" in caplog.text
    assert "weights, run: output_dir run, iteration 7" in caplog.text
    assert all(torch.equal(value, fresh[name]) for name, value in model.components.state_dict().items())


def test_a_backbone_that_was_loaded_asks_for_no_pretrained_weights(file_of):
    model = with_component(resnet(pretrained=True)).train()
    with pytest.raises(ValueError, match="should start from pretrained weights"):
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


def test_a_component_on_an_fpn_stays_with_it(exported):
    around = ReasoningBackbone(backbone=fpn(resnet(output_stride=32)), components={"p5": sgr(channels=8)})
    assert not [name for name in load_file(exported(detector(around))) if name.startswith("components")]
