from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from PIL import Image

from tokenseg.commands.visualize_tokens import choose_classes, draw_regions, iou
from tokenseg.config.load import load_config
from tokenseg.predictor import Predictor
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.visualize import palette

SHAPE_SCENES = Path(__file__).resolve().parents[2] / "configs/shape_scenes"


def arguments(paths, toy, *words):
    config, weights = map(str, paths)
    return [
        "visualize_tokens",
        "--config-file",
        config,
        "--weights",
        weights,
        "--input",
        f"{toy}/toy/images/1.png",
        *words,
    ]


def test_a_row_for_every_class(command, toy_predictor, tmp_path):
    label = ["--label", f"{tmp_path}/toy/labels/1.png"]
    command(*arguments(toy_predictor, tmp_path, "--classes", "red,2", *label, "--output", f"{tmp_path}/a/b.png"))
    width, height = Image.open(tmp_path / "a/b.png").size
    # Three panels (image, logits, mask) are 160 pixels wide each; the rows of two classes are 24 + 160 * 40 / 48 high.
    assert (width, height) == (3 * 160 + 2 * 6, 2 * (24 + 133 + 6))


def test_the_prediction_stands_beside_the_image(command, toy_predictor, tmp_path):
    command(*arguments(toy_predictor, tmp_path, "--classes", "red", "--prediction", "--output", f"{tmp_path}/p.png"))
    picture = np.asarray(Image.open(tmp_path / "p.png"))
    assert picture.shape[1] == 4 * 160 + 3 * 6
    predictor = Predictor(*toy_predictor)
    ids = predictor(f"{tmp_path}/toy/images/1.png")
    # 48 pixels become 160, of which each corner shows one
    corners = picture[24:157, 166:326][[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.array_equal(corners, palette(predictor.metadata)[ids[[0, 0, -1, -1], [0, -1, 0, -1]]])


def test_classes_by_name_number_or_size():
    ids = np.array([[2, 2, 2, 0, 0, 255]])
    assert choose_classes(None, ["a", "b", "c"], ids) == [2, 0]
    assert choose_classes("b,0", ["a", "b", "c"], ids) == [1, 0]
    with pytest.raises(ValueError, match="'gras'; did you mean 'grass'"):
        choose_classes("gras", ["grass", "sky"], ids)
    with pytest.raises(ValueError, match="'7'; wanted one of a, b"):
        choose_classes("7", ["a", "b"], ids)


def test_iou_by_hand():
    prediction, label = np.array([1, 1, 1, 0, 1]), np.array([1, 1, 0, 1, 0])
    ignored = np.array([0, 0, 0, 0, 1])
    assert iou(*(x.astype(bool) for x in (prediction, label, ignored))) == 0.5
    assert np.isnan(iou(*np.zeros((3, 4), dtype=bool)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "a", "b"], "1 --config-file, 2 --weights"),
        (["--input", "missing.png"], "missing.png cannot be read"),
        (["--classes", "blau"], "did you mean 'blue'"),
    ],
)
def test_mistakes(command, toy_predictor, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        command(*arguments(toy_predictor, tmp_path, "--output", f"{tmp_path}/x.png", *words))
    assert not (tmp_path / "x.png").exists()


def test_regions_of_a_model(command, toy_predictor, tmp_path):
    config = LazyConfig.load(toy_predictor[0])
    glore = L(GloRe)(channels=3, num_nodes=4, width=2, norm="BN")
    config.model.backbone = L(ReasoningBackbone)(
        backbone=config.model.backbone, components=L("builtins.dict")(pixels=glore)
    )
    LazyConfig.save(config, f"{tmp_path}/regions.yaml")
    torch.save({"model": instantiate(config.model).state_dict()}, f"{tmp_path}/regions.pth")
    paths = (f"{tmp_path}/regions.yaml", f"{tmp_path}/regions.pth")
    command(*arguments(paths, tmp_path, "--regions", "2", "--output", f"{tmp_path}/r.png"))
    assert Image.open(tmp_path / "r.png").size == (3 * 160 + 2 * 6, 24 + 133 + 6)
    with pytest.raises(ValueError, match="wanted a part whose tokens have regions"):
        command(*arguments(toy_predictor, tmp_path, "--regions", "2", "--output", f"{tmp_path}/s.png"))


@pytest.mark.slow("tokens of two models side by side")
def test_queries_stand_beside_regions_of_sgr(command, toy_dataset, tmp_path):
    words = [f"dataset.test={toy_dataset}", "dataset={short_side: 32, long_side: 64, num_classes: 3}"]
    words += ["train.device=cpu", "pyramid.channels=[8,8,16,16]"]
    words += ["model.sem_seg_head={width: 64, hidden: 32, num_queries: 4, num_layers: 1}"]
    configs = [f"{SHAPE_SCENES}/hosts_mask_former.py", f"{SHAPE_SCENES}/hosts_mask_former_sgr.py"]
    weights = [f"{tmp_path}/queries.pth", f"{tmp_path}/sgr.pth"]
    for config, path in zip(configs, weights, strict=True):
        torch.save({"model": instantiate(load_config(config, words).model).state_dict()}, path)
    command(
        *("visualize_tokens", "--config-file", *configs, "--weights", *weights, "--names", "MaskFormer", "SGR"),
        *("--input", f"{tmp_path}/toy/images/1.png", "--regions", "4", "--output", f"{tmp_path}/r.png", *words),
    )
    picture = np.asarray(Image.open(tmp_path / "r.png"))
    assert picture.shape == (2 * (24 + 133 + 6), 5 * 160 + 4 * 6, 3)
    queries, regions = np.split(picture, 2)
    assert not np.array_equal(queries[24:, 166:], regions[24:, 166:])


def test_regions_of_the_largest_mass_first():
    image, regions = np.full((8, 12, 3), 200, dtype=np.uint8), np.zeros((4, 2, 3), dtype=np.float32)
    regions[1], regions[3, 0, 0] = 0.5, 1.0
    panels = draw_regions(image, "model", regions, 3)
    assert len(panels) == 4
    _, everywhere, corner, nowhere = (panel[24:] for panel in panels)  # below the captions
    assert everywhere.min() == 200
    assert corner[0, 0, 0] == 200 and corner[-1, -1, 0] == 30
    assert nowhere.max() == 30


def test_a_model_without_regions(command, toy_predictor, tmp_path):
    words = arguments(toy_predictor, tmp_path, "--output", f"{tmp_path}/x.png", "--regions")
    with pytest.raises(ValueError, match="wanted a part whose tokens have regions"):
        command(*words, "2")
    with pytest.raises(ValueError, match="--regions is 0"):
        command(*words, "0")


def test_a_detector_shows_regions_and_no_classes(command, toy_detector, tmp_path):
    words = ["visualize_tokens", "--config-file", toy_detector[0], "--weights", toy_detector[1], "--input"]
    words += [f"{tmp_path}/instances/1.png", "--output", f"{tmp_path}/x.png"]
    with pytest.raises(ValueError, match=r"toy_detector is a GeneralizedRCNN.*; wanted a Segmentor or, .*--regions N"):
        command(*words)
    with pytest.raises(ValueError, match="--regions N without --prediction"):
        command(*words, "--regions", "2", "--prediction")
    command(*words, "--regions", "2")
    assert Image.open(tmp_path / "x.png").size == (3 * 160 + 2 * 6, 24 + 133 + 6)
