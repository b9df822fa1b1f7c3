"""A fresh training that starts from an exported backbone."""

import logging

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tokenseg import save_backbone
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.engine.checkpoint import Checkpointer
from tokenseg.engine.fresh_start import check_fresh_start, load_fresh_start
from tokenseg.hosts.per_pixel import PerPixelHead
from tokenseg.segmentor import Segmentor


def model(**args):
    backbone = TimmPyramid(model_name="resnet10t", timm_args={"channels": [8, 8, 8, 16]}, **args)
    head = PerPixelHead(in_feature="res5", layers=nn.Conv2d(16, 2, 1))
    return Segmentor(backbone=backbone, sem_seg_head=head, pixel_mean=[127.5] * 3, pixel_std=[127.5] * 3)


@pytest.fixture
def file(tmp_path):
    path = str(tmp_path / "backbone.safetensors")
    save_backbone(model(pretrained=False), path, image_format="RGB")
    return path


def config(file, **changes):
    train = {"init_checkpoint": "", "skip_mismatched": False, "allow_pickle": False}
    train |= {"init_backbone": {"file": file, "accept_stride": None, "drop_component": False}}
    mapper = {"image_format": "RGB"} | changes.pop("mapper", {})
    train["init_backbone"].update(changes.pop("init_backbone", {}))
    return OmegaConf.create({"train": train | changes, "dataloader": {"train": {"mapper": mapper}}})


def test_the_backbone_comes_from_the_file_and_asks_for_nothing_else(file, caplog):
    fresh = model()
    before = fresh.backbone.trunk.conv1[0].weight.clone()
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_fresh_start(config(file), fresh)  # timm's weights would raise an error, since there is no network
    count = len([name for name in fresh.backbone.state_dict() if "num_batches" not in name])
    assert f"The backbone starts from {file}: {count} weights" in caplog.text
    assert not torch.equal(fresh.backbone.trunk.conv1[0].weight, before)
    fresh.train().backbone(torch.rand(2, 3, 32, 32))


def test_a_stride_is_accepted_by_the_config(file):
    stride = {"init_backbone": {"accept_stride": 32}}
    with pytest.raises(ValueError, match=r"^train\.init_backbone: .* output_stride is 32 in the file, 16 in the model"):
        load_fresh_start(config(file), model(output_stride=16))
    load_fresh_start(config(file, **stride), model(output_stride=16))


def test_the_mapper_says_the_order_of_the_channels(file):
    with pytest.raises(ValueError, match="image_format is RGB in the file, BGR in the model"):
        load_fresh_start(config(file, mapper={"image_format": "BGR"}), model())


def test_what_cannot_work_is_told_before_anything_is_built(file, tmp_path):
    torch.save({"model": model().state_dict()}, tmp_path / "model.pth")
    for settings, told in (
        (config("nothing.safetensors"), r"^train\.init_backbone\.file: .* do not exist"),
        (config(file, init_checkpoint="a.pth"), "and train.init_checkpoint is a.pth; wanted only one of them"),
        (config(str(tmp_path / "model.pth")), r"is not an exported backbone .*set train\.init_checkpoint"),
    ):
        with pytest.raises(ValueError, match=told):
            check_fresh_start(settings)


def test_an_exported_backbone_is_no_checkpoint(file):
    with pytest.raises(ValueError, match=r"is an exported backbone.* set train\.init_backbone\.file="):
        Checkpointer(model()).load(file)
    with pytest.raises(ValueError, match=r"is an exported backbone.* set train\.init_backbone\.file="):
        load_fresh_start(config("", init_checkpoint=file), model())


def test_configs_from_before_there_were_exports_train_as_they_did():
    load_fresh_start(OmegaConf.create({"train": {"init_checkpoint": ""}}), nn.Linear(1, 1))
    check_fresh_start(OmegaConf.create({"train": {"init_checkpoint": ""}}))
