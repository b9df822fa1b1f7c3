import ctypes
import gc
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn import functional as F

from tokenseg.commands.detector_step import _made_proposals, _objects, photos, prepare_detector
from tokenseg.commands.estimate_memory import SETTINGS, Line, line, recipe
from tokenseg.commands.step_memory import LiveBytes, OnShapes, crops, measure_step, step_memory
from tokenseg.config.instantiate import instantiate
from tokenseg.config.load import load_config
from tokenseg.engine.build import begin_random

TESTS = Path(__file__).resolve().parents[1]
PLAIN, AMP, CHECKPOINTED = SETTINGS
OWN_CLASSES = "dataset.classes=[coin,stamp]"
NARROW = [
    OWN_CLASSES,
    "dataset.short_sides=[320]",
    "dataset.long_side=480",
    "pyramid.model_name=resnet10t",
    "pyramid.channels=[32,64,96,128]",
    "model.backbone.pretrained=false",
    "model.backbone.timm_args={channels: [32,64,96,128]}",
    "model.backbone.norm=BN",
    "model.backbone.freeze_at=0",
]


class Linears(nn.Module):
    """Two linear layers without biases, with a ReLU between them; the loss is the sum of their outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 32, bias=False), nn.Linear(32, 4, bias=False)

    def forward(self, batch):
        return {"loss": self.second(self.first(batch[0]).relu()).sum()}


def test_a_step_of_linear_layers_by_hand():
    model, images = Linears(), torch.zeros(100, 8)
    step = measure_step(model, torch.optim.Adam(model.parameters(), foreach=True), [images])
    weights = 8 * 32 + 32 * 4
    assert (step.parameters, step.gradients) == (4 * weights, 4 * weights)
    assert step.optimizer == 4 * (2 * weights + 2)  # two averages of each weight, and two step counters
    # The gradients of the second layer's weights and of the ReLU need the same 32 numbers per image. The input does not
    # count, since it is not created here. The loss is one number.
    assert step.kept == 4 * (100 * 32 + 1)
    # The peak is in the backward pass of the ReLU. The live tensors are its output, the gradients of its output and
    # input, the gradient of the second layer's weights, the loss, and the gradient of the loss.
    assert step.peak == step.parameters + step.optimizer + 3 * 4 * 3200 + 4 * 128 + 2 * 4
    assert step.update >= step.parameters + step.gradients + step.optimizer


def test_storages_count_once_and_while_they_live():
    with LiveBytes() as live:
        kept = torch.zeros(10)
        view = kept.view(2, 5)
        gone = kept + 1
        assert (live.now, live.most) == (80, 80)
        del gone, kept
        assert (live.now, live.most) == (40, 80)
        del view
        assert live.now == 0


def test_lines_and_the_update():
    steps = {2: SimpleNamespace(peak=30, update=45), 4: SimpleNamespace(peak=50, update=45)}
    assert [line(steps).at(images) for images in (1, 2, 4)] == [45, 45, 50]


@pytest.mark.parametrize(
    ("limit", "batch_norms", "found"),
    [
        (16, False, (PLAIN, 1)),
        (9, False, (AMP, 1)),
        (6, False, (AMP, 2)),
        (6, True, (CHECKPOINTED, 1)),
        (0.9, False, (CHECKPOINTED, 8)),
        (0.7, False, None),
    ],
)
def test_what_fits_with_the_least_cost(limit, batch_norms, found):
    lines = {PLAIN: Line(0, 1, 0), AMP: Line(0, 0.5, 0), CHECKPOINTED: Line(0.2, 0.1, 0)}
    assert recipe(lines, batch=16, gradients=0.5, limit=limit, batch_norms=batch_norms) == found


def test_attention_with_dropout_keeps_no_matrix_of_pairs():
    query = torch.zeros(1, 1, 500, 8, requires_grad=True)
    with LiveBytes() as live, OnShapes():
        kept = F.scaled_dot_product_attention(query, query, query, dropout_p=0.1)
    assert kept.shape == query.shape and live.now < 4 * 500 * 500


def test_photos_of_a_detector_are_as_large_as_its_largest():
    config = load_config("own_detection", ["dataset.short_sides=[80,120]", "dataset.long_side=160", OWN_CLASSES])
    first, second = photos(config, 2)
    assert first["image"].shape == second["image"].shape == (3, 120, 160)
    objects = first["instances"]
    assert objects.gt_classes.tolist() == [0, 1] * 8 and objects.gt_masks.tensor.shape == (16, 120, 160)
    assert objects.gt_boxes.area().tolist() == [20 * 15] * 16
    assert objects.gt_masks.get_bounding_boxes().tensor.tolist() == objects.gt_boxes.tensor.tolist()


def test_a_fourth_of_the_proposals_are_objects():
    rpn = SimpleNamespace(post_nms_topk={True: 200})
    (proposed,) = _made_proposals(rpn, [], [], [], [(120, 160)])
    best = pairwise_iou(proposed.proposal_boxes, Boxes(_objects(120, 160))).max(dim=1).values
    assert len(proposed) == 200 and (best == 1).sum() == 50 and (best < 0.5).sum() == 150


def test_what_is_no_detector_and_has_no_crop_is_told():
    with pytest.raises(ValueError, match=r"no dataset\.crop and its model is Linear with NoneType; wanted G"):
        prepare_detector(nn.Linear(2, 2), load_config("own_detection", [OWN_CLASSES]))


@pytest.mark.slow("the calculation beside what the process really takes, for a segmentor and a detector")
@pytest.mark.parametrize("name", ["quickstart", "detector"])
def test_measured_memory_is_the_calculated(name):
    # This runs in a new process, since this one reuses memory that earlier tests have freed. Earlier tests may also
    # have run commands here, which set variables for the allocator of child processes; these are removed.
    path = os.pathsep.join([str(TESTS.parent / "projects"), str(TESTS)])
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, name],
        env=inherited | {"PYTHONPATH": path},
        capture_output=True,
        check=True,
    )
    wanted, taken = map(int, done.stdout.split()[-2:])
    assert wanted < taken < 1.4 * wanted  # kernels, and the selection of proposals, need memory of their own


def measure(name):
    """Return the calculated and the measured bytes of a step, both without weights and optimiser."""
    config, images = load_config("quickstart", ["train.amp.enabled=false"]), 16
    if name == "detector":
        config, images = load_config("own_detection", NARROW), 2
    calculated = step_memory(config, images=images)
    torch.manual_seed(0)
    model = begin_random(instantiate(config.model)).train()
    if name == "detector":
        prepare_detector(model, config)
    batch = photos(config, images) if name == "detector" else crops(config, images)
    counts = [] if name == "detector" else [model.count(batch)]
    with EventStorage(0):
        sum(model(batch[:1], *counts).values()).backward()  # the first step loads further libraries
        model.zero_grad(set_to_none=True)
        gc.collect()
        # Memory that was freed and not returned would be used again, and so be missing in the measurement.
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        sum(model(batch, *counts).values()).backward()
    return calculated.peak - calculated.parameters - calculated.optimizer, resident("VmHWM") - before


def resident(name):
    """Return a memory figure of this process in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])


if __name__ == "__main__":
    print(*measure(sys.argv[1]))


@pytest.mark.parametrize("images", ["two", "0", "1,", "1,-2"])
def test_numbers_of_images_that_cannot_be(command, capsys, images):
    with pytest.raises(SystemExit):
        command("estimate_memory", "--recipes", "--images", images)
    assert f"'{images}' given; wanted whole numbers of 1 or more" in capsys.readouterr().err
