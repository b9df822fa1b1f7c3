"""Detection: every detector of the configs trains a step, as small as it can be, and says what it has found."""

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage

from detectors import DETECTORS, FOLDER, NUM_CLASSES, narrow_config, resnet, sample, sgr
from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random


@pytest.mark.slow("a step of every detector")
@pytest.mark.parametrize("name", DETECTORS)
def test_a_step_and_a_look(name):
    cfg = narrow_config(name)
    model = begin_random(instantiate(cfg.model)).train()
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with EventStorage():
        losses = model([sample([(4, 8, 40, 60), (30, 5, 60, 40)]), sample([], (40, 64))])
    sum(losses.values()).backward()
    optimizer.step()
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    assert [key for key, p in trained.items() if p.grad is None or not p.grad.isfinite().all()] == []
    same = [key for key, value in model.state_dict().items() if torch.equal(value, before[key])]
    assert "resnet" not in name or any("layer1" in key for key in same)
    assert [key for key in same if key in trained and trained[key].grad.any()] == []
    with torch.no_grad():
        (found,) = model.eval()([sample([], (40, 64))])
    assert found["instances"].image_size == (40, 64) and found["instances"].pred_classes.lt(NUM_CLASSES).all()


@pytest.mark.slow("a step of every detector")
def test_segmentation_and_detection_see_the_same_maps():
    """At equal stride; the weights of one are those of the other, component and all."""
    overrides = [*resnet("model.backbone.backbone"), *sgr("model.backbone"), "model.backbone.backbone.output_stride=16"]
    fcn = FOLDER.parent / "sgr/fcn_sgr_resnet_101_coco_stuff_10k_512_60k.py"
    segments = instantiate(load_config(str(fcn), overrides).model.backbone).eval()
    for module in segments.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    detects = instantiate(narrow_config("dc5_sgr_resnet_101").model.backbone).eval()
    detects.load_state_dict(segments.state_dict())
    images = torch.randn(2, 3, 64, 96)
    assert torch.equal(detects(images)["res5"], segments(images)["res5"])
    assert detects.output_shape()["res5"].stride == 16
