import json
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig

from detectors import narrow_config
from shapes import shapes_only
from tokenseg.commands import analyze_model
from tokenseg.config.load import load_config

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/structtoken/structtoken_pwe_vit_t_ade20k_512_160k.py")


def test_counts_follow_by_hand(command, capsys):
    # The input has 16x16 pixels, so every map has one cell: a convolution has as many multiply-adds as weights, and a
    # norm 5 operations per number. There are two blocks of 12 channels, and one class.
    overrides = [
        "vit={channels: 12, last_block: 0}",
        "model.backbone.timm_args={embed_dim: 12, depth: 1, num_heads: 2, class_token: false}",
        "dataset={crop: 16, num_classes: 2}",
        "model.inference.stride=16",
        "model.sem_seg_head.blocks.num_blocks=1",
    ]
    command("analyze_model", "--config-file", CONFIG, "--json", *overrides)
    got = json.loads(capsys.readouterr().out)
    width, patch = 14, 3 * 16 * 16 * 12
    mapping = 2 * width**2 + 9 * width + 3 * 5 * width
    ffn = 2 * 4 * width**2 + 4 * 4 * 9 * width + 5 * (4 + 4 + 1) * width
    refine = 2 * 9 * 2 * 2 + 2 * 5 * 2
    head = 12 * 12 + 2 * mapping + width**2 + ffn + refine
    vit = patch + 2 * 5 * 12 + 2 * 4 * 12**2
    attention = (
        4 * 12**2 + 2 * 12
    )  # the projections to query, key, value and output, and two products of one token with itself
    resize = 4 * 2 * 16 * 16
    assert got["parts"]["sem_seg_head"][1] * 1e9 == pytest.approx(head)
    assert got["gflops"] * 1e9 == pytest.approx(head + vit)
    assert got["gflops_fvcore"] * 1e9 == pytest.approx(head + vit + attention + resize)


def test_numbers_of_the_paper(command, capsys):
    command("analyze_model", "--config-file", CONFIG, "--json")
    got = json.loads(capsys.readouterr().out)
    assert got["params_m"] == pytest.approx(12, abs=1) and got["gflops"] == pytest.approx(10, abs=1)
    assert got["size"] == [512, 512]


def test_size_must_fit_the_patch(command):
    with pytest.raises(ValueError, match="multiples of 16"):
        command("analyze_model", "--config-file", CONFIG, "--size", "500", "512")


def test_tolerances_are_shares_or_units():
    within = analyze_model.within
    assert within(102, "100", "2%") and not within(102.1, "100", "2%")
    assert within(7.9, "7", "1.0") and not within(5.9, "7", "1.0")
    assert within(5, "", "")


def test_a_detector_counts_at_the_regions_of_inference_by_hand():
    # Images of 30 x 60 pixels are padded to 32 x 64. The maps have 8x16, 4x8, 2x4, 1x2 and, for p6, 1x1 cells.
    got = analyze_model.analyze(narrow_config("fpn_resnet_101"), (30, 60))
    cells, proposals, detections = 128 + 32 + 8 + 2 + 1, 10, 100
    assert (got["size"], got["proposals"], got["detections"]) == ([32, 64], proposals, detections)
    parts = {name: round(gflops * 1e9) for name, (_, gflops) in got["parts"].items()}
    assert parts["proposal_generator"] == cells * (9 * 16 * 16 + 16 * 3 * 5)
    assert parts["roi_heads.box_head"] == proposals * (16 * 49 * 32 + 32 * 32)
    assert parts["roi_heads.box_predictor"] == proposals * 32 * (4 + 3 * 4)
    convolution, deconvolution, masks = 196 * 9 * 16 * 16, 196 * 4 * 16 * 16, 784 * 16 * 3
    assert parts["roi_heads.mask_head"] == detections * (convolution + deconvolution + masks)
    assert sum(parts.values()) == round(got["gflops"] * 1e9) == round(got["gflops_fvcore"] * 1e9)
    assert sum(millions for millions, _ in got["parts"].values()) == pytest.approx(got["params_m"])


def test_inputs_that_a_config_means():
    config = narrow_config("fpn_resnet_101")
    assert analyze_model.default_size(config) == (800, 1333)
    assert analyze_model.default_size(DictConfig({"dataset": {"crop": 96}})) == (96, 96)
    config.dataloader.test.mapper.augmentations = []
    with pytest.raises(ValueError, match="wanted --size H W"):
        analyze_model.default_size(config)


def test_models_that_are_not_counted():
    config = DictConfig(dict(model=L(torch.nn.ReLU)()), flags={"allow_objects": True})
    with pytest.raises(ValueError, match="the model is a ReLU; wanted a Segmentor, or a GeneralizedRCNN"):
        analyze_model.analyze(config, (32, 32))


@pytest.mark.slow("parameters of every row of the papers' tables")
def test_parameters_of_detectron2s_dilated_mask_rcnn(command, capsys):
    config = str(Path(CONFIG).parents[1] / "detection/mask_rcnn_dc5_resnet_101_coco_800_270k.py")
    with shapes_only():
        model = instantiate(load_config(config, []).model)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(191.3, abs=0.05)


def test_mask_classifiers_count_the_masks_of_all_stages():
    # The masks of two of MaskFormer's three stages: 4 queries with 32 channels, on a map of 8 x 16.
    config = str(Path(CONFIG).parents[1] / "sgr/mask_former_resnet_101_cityscapes_768_80k.py")
    overrides = [
        "pyramid={model_name: resnet18, channels: [8, 16, 32, 64]}",
        "model.backbone.timm_args={channels: [8, 16, 32, 64]}",
        *(f"model.sem_seg_head.{part}" for part in ("width=32", "num_queries=4", "num_layers=3", "hidden=8")),
    ]
    got = analyze_model.analyze(load_config(config, overrides), (32, 64))
    assert (got["gflops"] - got["gflops_fvcore"]) * 1e9 == pytest.approx(2 * 4 * 32 * 8 * 16)


def test_inputs_may_be_oblong():
    assert analyze_model.input_size("512x2048", crop=640) == (512, 2048)
    assert analyze_model.input_size("480", crop=640) == (480, 480) and analyze_model.input_size("", crop=640) == (
        640,
        640,
    )


@pytest.mark.slow("published rows beside ours, by the command")
def test_paper_rows_stand_beside_ours(command, monkeypatch, tmp_path, capsys):
    header = "table,row,config,overrides,size,params_m,params_m_tolerance,gflops,gflops_tolerance\n"
    (tmp_path / "a.csv").write_text(f"{header}T1,PWE,structtoken/{Path(CONFIG).stem},,,12,1.0,10,1.0\n")
    (tmp_path / "b.csv").write_text(f"{header}T2,off,structtoken/{Path(CONFIG).stem},,,,,10,1%\n")
    monkeypatch.setattr(analyze_model, "PAPER_ROWS", tmp_path)
    command("analyze_model", "--paper", "a")
    assert capsys.readouterr().out.splitlines()[-1].split()[:4] == ["T1", "PWE", "12", "12.65"]
    with pytest.raises(ValueError, match="outside their tolerances"):
        command("analyze_model", "--paper")
    assert capsys.readouterr().out.splitlines()[-1].split()[-1] == "gflops"
    with pytest.raises(ValueError, match="--paper is c; wanted some of a, b"):
        command("analyze_model", "--paper", "c")


ROWS = sorted(path.stem for path in analyze_model.PAPER_ROWS.glob("*.csv"))


@pytest.mark.slow("parameters of every row of the papers' tables")
@pytest.mark.parametrize("method", ROWS)
def test_published_parameter_counts(method):
    rows = analyze_model.read_paper_rows([method])
    assert rows
    for row in rows:
        cfg = load_config(str(Path(CONFIG).parents[1] / f"{row['config']}.py"), row["overrides"].split())
        with shapes_only():
            model = instantiate(cfg.model)
        count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        assert analyze_model.within(count, row["params_m"], row["params_m_tolerance"]), row
        assert bool(row["gflops"]) == bool(row["gflops_tolerance"])
