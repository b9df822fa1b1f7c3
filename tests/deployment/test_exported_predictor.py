import dataclasses

import numpy as np
import pytest
import torch

from tokenseg.deployment import exported_predictor
from tokenseg.deployment.exported_predictor import ExportedPredictor


@pytest.fixture
def opened(exported_facts, monkeypatch):
    """A function that returns a predictor with given facts, and a list of the inputs that its file gets.

    The file outputs the highest channel of each pixel.
    """

    def make(**changes):
        told, seen = dataclasses.replace(exported_facts, **changes), []

        def run(images):
            seen.append(images)
            return images.argmax(axis=1) if told.output_kind == "ids" else images

        monkeypatch.setattr(exported_predictor, "open_file", lambda path, allow_pickle: (run, told))
        return ExportedPredictor("model.onnx"), seen

    return make


@pytest.fixture
def stripes():
    """An image (24, 48, 3) whose left half is red and whose right half is blue."""
    image = np.zeros((24, 48, 3), dtype=np.uint8)
    image[:, :24, 0] = image[:, 24:, 2] = 200
    return image


@pytest.mark.parametrize("kind", ["ids", "scores"])
@pytest.mark.parametrize("size", [None, [32, 32], [64, 40], [24, 48]])
def test_results_have_the_size_of_the_image(opened, stripes, kind, size):
    predictor, seen = opened(output_kind=kind, size=size)
    ids = predictor(stripes)
    assert ids.dtype == np.int64 and seen[0].dtype == np.float32
    assert np.array_equal(ids, np.broadcast_to(np.arange(48) // 24 * 2, (24, 48)))
    assert seen[0].shape == (1, 3, *(size or (24, 48)))
    assert predictor.class_names == predictor.metadata.stuff_classes == ["a", "b", "c"]


def test_what_a_fixed_size_leaves_over_has_the_mean_colour(opened, stripes):
    predictor, seen = opened(size=[32, 32])
    predictor(stripes)
    around = seen[0][0, :, 16:]
    assert (around == np.array([10, 20, 30])[:, None, None]).all() and (seen[0][0, 1, :16] == 0).all()


def test_an_open_size_is_resized_as_in_tests(opened, stripes):
    predictor, seen = opened(short_side=12, image_format="BGR", output_kind="scores")
    scores = predictor.scores(stripes)
    assert seen[0].shape == (1, 3, 12, 24) and scores.shape == (3, 24, 48)
    assert torch.equal(scores[:, 0, 0], torch.tensor([0.0, 0.0, 200.0]))  # BGR: blue comes first


def test_what_it_cannot_do_is_told(opened, stripes):
    predictor, _ = opened()
    with pytest.raises(
        ValueError, match="the file outputs class ids; wanted a file exported with --output-kind scores"
    ):
        predictor.scores(stripes)
    with pytest.raises(ValueError, match=r"the image has shape \(24, 48\)"):
        predictor(stripes[..., 0])
