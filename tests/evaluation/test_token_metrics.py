"""The token metrics: known results, cells whose borders are not those of pixels, and the evaluator."""

import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from pycocotools import mask as rle

from tokenseg.evaluation.combined import combined_evaluators
from tokenseg.evaluation.token_metrics import (
    ClassMasks,
    InstanceMasks,
    TokenMetrics,
    diversity,
    region_histograms,
    semantics,
)


def stripes(count, size=(8, 12)):
    """The masks (count, H, W) of vertical stripes of the same width."""
    columns = torch.arange(size[1]) * count // size[1]
    return (columns == torch.arange(count)[:, None, None]).expand(count, *size)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_one_hot_regions(count):
    regions = stripes(count).float().repeat(2, 1, 1)
    found = region_histograms(regions, stripes(count), (1.0, 1.0))
    assert semantics(found) == pytest.approx(0) and diversity(found) == pytest.approx(1 - 1 / count)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_uniform_regions(count, mixed):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        found = region_histograms(torch.full((5, 4, 6), 0.3), stripes(count), (2.0, 2.0))
    assert semantics(found) == pytest.approx(math.log(count)) and diversity(found) == pytest.approx(0, abs=1e-12)


def test_cells_vote_by_area():
    masks = torch.zeros(2, 3, 10, dtype=torch.bool)
    masks[0, :, :4] = True
    masks[1, :2, 4:] = True  # the rest is ignored
    regions = torch.tensor([[[1.0, 0, 0]], [[0, 1, 1]], [[1e-9, 0, 0]]])
    # one cell is 3 x 5 pixels: the first holds 12 of class 0 and 2 of class 1; the third lies outside the image
    found = region_histograms(regions, masks, (3.0, 5.0))
    torch.testing.assert_close(found, torch.tensor([[12 / 14, 2 / 14], [0, 1]]))


def test_cells_of_broken_size():
    masks = stripes(2, size=(2, 7))
    found = region_histograms(torch.tensor([[[1.0, 0]]]), masks, (2.0, 4.5))
    torch.testing.assert_close(found, torch.tensor([[4 / 4.5, 0.5 / 4.5]]))  # four columns of class 0


def evaluate(masks, records, outputs):
    evaluator = TokenMetrics(masks=masks)
    evaluator.reset()
    evaluator.process(records, outputs)
    return evaluator.evaluate()


def test_classes_of_a_data_set(toy_dataset):
    records = DatasetCatalog.get(toy_dataset)[:2]
    outputs = []
    for record, size in zip(records, [(32, 32), (40, 48)], strict=True):
        masks = ClassMasks(ignore_label=255)(record)
        assert masks.shape == (3, *size) and not masks[:, 0].any()  # the top row is ignored
        outputs.append({"regions": torch.from_numpy(masks).float(), "region_cell": (1.0, 1.0)})
    got = evaluate(ClassMasks(ignore_label=255), records, outputs)
    assert got == {"tokens_class": {"S_C": 0, "D_C": pytest.approx(2 / 3), "S_C_of_max": 0, "images": 2}}


def test_instances_without_crowds_and_images_without_things():
    square = rle.encode(np.asfortranarray(np.arange(8) < 4)[None].repeat(4, 0).astype(np.uint8, order="F"))
    other = [[4.0, 0.0, 8.0, 0.0, 8.0, 4.0, 4.0, 4.0]]
    annotations = [
        {"segmentation": square, "iscrowd": 0},
        {"segmentation": other},
        {"segmentation": other, "iscrowd": 1},
    ]
    records = [
        {"file_name": "a", "height": 4, "width": 8, "annotations": annotations},
        {"file_name": "b", "height": 4, "width": 8, "annotations": []},
    ]
    output = {"regions": torch.tensor([[[1.0, 1]], [[1, 0]]]), "region_cell": (4.0, 4.0)}
    got = evaluate(InstanceMasks(), records, [output, output])["tokens_instance"]
    # histograms (1/2, 1/2) and (1, 0)
    assert got["images"] == 1 and got["S_I"] == pytest.approx(math.log(2) / 2)
    assert got["S_I_of_max"] == pytest.approx(0.5) and got["D_I"] == pytest.approx(2 * 0.25**2)


def test_inputs_that_lack_the_truth():
    with pytest.raises(ValueError, match=r"input of a\.jpg has no annotations; wanted"):
        InstanceMasks()({"file_name": "a.jpg", "height": 1, "width": 1})
    with pytest.raises(ValueError, match=r"record of a\.jpg names no label map; wanted sem_seg_file_name"):
        ClassMasks(ignore_label=255)({"file_name": "a.jpg"})


def test_images_are_averaged():
    bins, images = torch.tensor([[True, False], [False, True]])[:, None], []
    for share in (0.5, 1.0):  # of both regions' weight, on the first bin
        regions = torch.tensor([share, 1 - share]).view(1, 1, 2).repeat(2, 1, 1)
        images.append({"regions": regions, "region_cell": (1.0, 1.0)})

    def masks(record):
        return bins.numpy()

    masks.level = "class"
    got = evaluate(masks, [{}, {}], images)["tokens_class"]
    assert got["S_C"] == pytest.approx(math.log(2) / 2) and got["S_C_of_max"] == pytest.approx(0.5)
    assert got["images"] == 2 and got["D_C"] == 0


def test_processes_join_their_images(monkeypatch):
    other = [(1.0, 1.0, 1.0)]
    monkeypatch.setattr("tokenseg.evaluation.token_metrics.comm.all_gather", lambda own: [own, other])
    output = {"regions": torch.ones(1, 1, 1), "region_cell": (1.0, 1.0)}

    def masks(record):
        return np.ones((1, 1, 1), dtype=bool)

    masks.level = "class"
    got = evaluate(masks, [{}], [output])["tokens_class"]
    assert got == {"S_C": 0.5, "D_C": 0.5, "S_C_of_max": 0.5, "images": 2}


def test_regions_that_see_next_to_nothing_can_be_left_out():
    def masks(record):
        return np.array([[[True, False]], [[False, True]]])

    masks.level = "class"
    # The second region belongs to a class that does not occur in the image: its weight is small and uniform.
    output = {"regions": torch.tensor([[[3.0, 0.0]], [[0.1, 0.1]]]), "region_cell": (1.0, 1.0)}
    entropies = []
    for least in (1e-6, 1.0):
        evaluator = TokenMetrics(masks=masks, least_mass=least)
        evaluator.process([{}], [output])
        entropies.append(evaluator.evaluate()["tokens_class"]["S_C"])
    assert entropies == [pytest.approx(math.log(2) / 2), 0]


def test_evaluators_by_name():
    one, other = TokenMetrics(masks=None), TokenMetrics(masks=None)
    assert combined_evaluators(a=one, b=None, c=other)._evaluators == [one, other]


def test_outputs_without_regions():
    with pytest.raises(ValueError, match=r"RegionSegmentor"):
        TokenMetrics(masks=lambda _: np.zeros((1, 2, 2), dtype=bool)).process([{}], [{}])
