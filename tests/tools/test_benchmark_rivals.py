import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks.rivals import table
from reference import rivals

SMALL = ("rivals", "--pairs", "1", "--size", "32", "--only")


@pytest.mark.slow("our models beside whole ones of transformers")
@pytest.mark.parametrize("mode", ["inference", "step"])
def test_both_sides_do_the_task(benchmark, capsys, mode):
    benchmark(*SMALL, "SegViT-B", mode, "--json")
    row = json.loads(capsys.readouterr().out)
    assert row["least"] <= row["times faster"] <= row["most"]
    assert row["rival M"] == pytest.approx(68.8, abs=0.1)
    assert ("ours G" in row) == (mode == "inference")


@pytest.mark.slow("our models beside whole ones of transformers")
def test_a_step_with_too_few_images_is_refused(benchmark):
    with pytest.raises(ValueError, match="--batch is 1; a step of this rival needs 2"):
        benchmark(*SMALL, "ECENet", "step")


@pytest.mark.parametrize("build", [rivals.mask2former_swin_s, rivals.eomt_l])
def test_ids_of_a_mask_classifier(build):
    with torch.device("meta"):
        rival = build(2, 64)
    # The first query has class 0 and the left half, the second has class 1 and the right half.
    masks = torch.full((1, 2, 16, 16), -9.0)
    masks[:, 0, :, :8] = masks[:, 1, :, 8:] = 9
    classes = torch.tensor([[[9.0, 0, 0], [0, 9, 0]]])
    output = SimpleNamespace(masks_queries_logits=masks, class_queries_logits=classes, patch_offsets=None)
    ids = rival.ids(output, (64, 64))
    assert ids.shape == (1, 64, 64) and torch.equal(ids, (torch.arange(64) >= 32).long().expand(1, 64, 64))


def test_a_mask_classifier_gets_the_classes_that_a_label_shows():
    labels = torch.tensor([[[3, 3], [5, 3]]])
    targets = rivals.mask_targets(labels)
    assert targets["class_labels"][0].tolist() == [3, 5]
    assert targets["mask_labels"][0].tolist() == [[[1.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]]


def test_the_table_has_both_sides_in_a_cell():
    row = {"case": "A beside B step", "times faster": 1.5, "least": 1.25, "most": 2.0, "memory": 0.828}
    row |= {"ours s": 0.5, "rival s": 0.75, "ours M": 108.2, "rival M": 68.81, "ours MiB": 1181.0, "rival MiB": 1426.0}
    (shown,) = table([row])
    assert list(shown.values()) == [
        "A beside B step",
        "0.5 / 0.75",
        "1.50 (1.25 to 2.00)",
        "1181 / 1426",
        "0.83",
        "108 / 68.8",
        "-",
    ]
