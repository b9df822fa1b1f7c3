import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from tokenseg import Predictor
from tokenseg.explorer import Explorer, Look, answers
from tokenseg.inspection import tokens_on
from tokenseg.visualize import heat_map


@pytest.fixture
def explorer(toy_predictor):
    return Explorer(Predictor(*toy_predictor), longest_side=40, panel_side=20)


@pytest.fixture
def seen(explorer, tmp_path):
    return explorer.look(str(tmp_path / "toy/images/4.png"))


def test_large_images_are_shrunk_and_small_pictures_enlarged(seen):
    assert seen.image.shape == (20, 40, 3) and seen.ids.shape == (20, 40)  # of 32 x 64
    assert seen.picture.shape == (16 * 20, 16 * 40, 3)
    assert seen.pixel(x=0, y=0) == (0, 0) and seen.pixel(x=33, y=15) == (0, 2)
    assert seen.pixel(x=10**6, y=-5) == (0, 39)


def test_classes_come_largest_first(explorer, seen):
    labels, ids = zip(*explorer.choices(seen), strict=True)
    counts = [(seen.ids == class_id).sum() for class_id in ids]
    assert sorted(ids) == [0, 1, 2] and counts == sorted(counts, reverse=True)
    assert labels[0] == f"{['red', 'green', 'blue'][ids[0]]} ({100 * counts[0] / 800:.1f} %)"


def test_a_pixel_has_its_class(explorer, seen):
    assert explorer.choice_at(seen, (3, 39)) == seen.ids[3, 39]
    assert np.array_equal(explorer.mask(seen, 1), seen.ids == 1)
    panel, label = explorer.mask_panel(seen, 1)
    assert panel.shape == (10, 20, 3) and label.startswith("green (")


def test_stages_are_those_of_the_predictor(explorer, seen):
    [(panel, title)] = explorer.stages(seen, 2)
    maps = explorer.predictor.token_maps(seen.image, [2])
    assert [title] == [*maps] and panel.shape == (10, 20, 3)
    full = Explorer(explorer.predictor).stages(seen, 2)[0][0]
    assert np.array_equal(full, heat_map(maps[title][0]))


def test_what_a_model_lacks_is_told_beside_what_it_has(explorer, seen):
    panels, reasons = answers(
        {"stages": lambda: explorer.stages(seen, 0), "regions": lambda: explorer.regions(seen, 0)}
    )
    assert len(panels) == 1 and reasons[0].startswith("No regions: neither RawPixels nor PerPixelHead has region_we")


def test_instances_and_the_tokens_below_a_pyramid(toy_detector, tmp_path):
    explorer = Explorer(Predictor(*toy_detector), token_count=5)
    seen = explorer.look(str(tmp_path / "instances/0.png"), confidence_threshold=0.2)
    choices = explorer.choices(seen)
    assert choices[0][0].startswith("1: ") and len(choices) == len(seen.found) > 0
    assert explorer.stages(seen, 0) == []
    regions = explorer.regions(seen, 0, pixel=(0, 47))
    weights = explorer.predictor.regions(seen.image)[:, 0, -1]
    best = weights.argmax()
    assert len(regions) == 5 and regions[0][0].shape == (40, 48, 3)
    assert regions[0][1] == f"token {best}: {100 * weights[best] / weights.sum():.0f} %"
    shares = tokens_on(explorer.predictor.regions(seen.image), explorer.mask(seen, 0))
    assert explorer.regions(seen, 0)[0][1] == f"token {shares.argmax()}: {100 * shares.max():.0f} %"


def test_the_smallest_instance_over_a_pixel_counts(explorer):
    found = Instances((10, 10), pred_boxes=Boxes(torch.tensor([[0.0, 0, 8, 8], [2, 2, 4, 4], [-5, 9, 99, 99]])))
    seen = Look(np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10, 3), np.uint8), None, found)
    places = [explorer.choice_at(seen, pixel) for pixel in [(3, 3), (4, 4), (8, 8), (9, 0)]]
    assert places == [1, 0, None, 2] and explorer.mask(seen, 1).sum() == 4


def test_shares_of_regions_on_a_mask():
    weights = np.array([[[1.0, 3.0]], [[0.0, 2.0]], [[0.0, 0.0]]])  # three tokens on one row of two cells
    mask = np.zeros((2, 4), dtype=bool)
    mask[:, 2:] = True  # the right cell
    mask[0, 1] = True  # and a quarter of the left one
    assert tokens_on(weights, mask).tolist() == pytest.approx([(0.25 + 3) / 4, 1.0, 0.0])


def test_unreadable_images_are_told(explorer, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        explorer.look(str(tmp_path / "a.png"))
    Image.new("I;16", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="wanted 8 bits per channel"):
        explorer.look(str(tmp_path / "b.png"))
