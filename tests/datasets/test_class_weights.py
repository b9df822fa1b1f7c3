import numpy as np
import pytest

from tokenseg.commands.train import set_class_weights
from tokenseg.config.load import load_config
from tokenseg.datasets.class_weights import balanced_weights, count_class_pixels
from tokenseg.segmentor import Segmentor


def test_balanced_classes_count_alike():
    pixels = np.array([60, 30, 0, 10])
    weights = balanced_weights(pixels)
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 90, 1.0, 100 / 30])
    assert (weights * pixels)[pixels > 0].tolist() == pytest.approx([100 / 3] * 3)
    with pytest.raises(ValueError, match="no class has a labelled pixel"):
        balanced_weights([0, 0])


def toy_config(toy_dataset, *overrides):
    data = f"dataset={{train: {toy_dataset}, test: {toy_dataset}, num_classes: 3}}"
    return load_config("shape_scenes/baseline_color", [data, "train.device=cpu", *overrides])


def test_a_training_works_balanced_weights_out_once(toy_dataset):
    config = toy_config(toy_dataset, "dataset.class_weights=balanced")
    set_class_weights(config, training=True)
    pixels = count_class_pixels(toy_dataset, num_classes=3, ignore_label=255)
    assert list(config.dataset.class_weights) == pytest.approx(list(balanced_weights(pixels)), rel=1e-3)
    assert list(config.model.class_weights) == list(config.dataset.class_weights)
    other = toy_config(toy_dataset, "dataset.class_weights=balanced")
    set_class_weights(other, training=False)
    assert other.dataset.class_weights is None


def test_weights_from_a_file(toy_dataset, tmp_path):
    (tmp_path / "weights.txt").write_text("1\n0.5\n2e1\n")
    config = toy_config(toy_dataset, f"dataset.class_weights=@{tmp_path}/weights.txt")
    model = Segmentor(
        backbone=None, sem_seg_head=_Head(), pixel_mean=[0], pixel_std=[1], class_weights=config.model.class_weights
    )
    assert model.class_weights.tolist() == [1, 0.5, 20]


class _Head:
    """An object that has the attributes and methods of `Head`, none of which work."""

    ignore_value, gives_probabilities = 255, False

    def count(self, targets): ...

    def __call__(self, features, targets=None): ...


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("[1,2]", "dataset.class_weights has 2 numbers; wanted 3"),
        ("[1,2,-1]", "dataset.class_weights is .*; wanted a list of numbers of 0 or more"),
        ("even", "dataset.class_weights is even; wanted a list"),
    ],
)
def test_wrong_weights_are_refused(toy_dataset, weights, message):
    with pytest.raises(ValueError, match=message):
        toy_config(toy_dataset, f"dataset.class_weights={weights}")


@pytest.mark.parametrize("weights", [[0, 0], [1, float("inf")]])
def test_weights_that_teach_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="wanted numbers of 0 or more, one above 0"):
        Segmentor(backbone=None, sem_seg_head=_Head(), pixel_mean=[0], pixel_std=[1], class_weights=weights)
