"""The stage res5 of a timm ResNet that runs on regions."""

import pytest
import timm
import torch

from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.backbones.region_stage import RegionStage

NARROW = dict(model_name="resnet50", timm_args=dict(layers=[1, 1, 1, 2], channels=[8, 8, 8, 8]))


def test_backbone_and_stage_are_the_whole_model(tmp_path):
    whole = timm.create_model("resnet50", **NARROW["timm_args"]).eval()
    for norm in (module for module in whole.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean)
        torch.nn.init.uniform_(norm.weight)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    args = NARROW | dict(weights_file=str(tmp_path / "weights.pth"), norm="FrozenBN")
    trunk, stage = TimmPyramid(**args, out_features=["res4"]), RegionStage(**args)
    trunk.load_pretrained()
    stage.load_pretrained()
    images = torch.randn(2, 3, 64, 64)
    wanted = whole.forward_intermediates(images, indices=[4], intermediates_only=True)[0]
    torch.testing.assert_close(
        stage(trunk(images)["res4"]), wanted
    )  # equal in training mode too, since the norms are frozen


def test_a_step_from_random_weights_is_refused():
    stage = RegionStage(**NARROW)
    with pytest.raises(ValueError, match="the backbone resnet50 should start from pretrained weights"):
        stage(torch.randn(1, 32, 4, 4))
    stage.load_state_dict(stage.state_dict())  # loading a checkpoint also counts as a start from weights
    assert stage(torch.randn(3, 32, 14, 14)).shape == (3, 32, 7, 7)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="convnext_atto is a ConvNeXt; wanted a ResNet"):
        RegionStage(model_name="convnext_atto")
