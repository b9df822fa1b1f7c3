import json
from pathlib import Path

import pytest
from detectron2.config import instantiate

from shapes import shapes_only
from tokenseg.commands import analyze_model
from tokenseg.config.load import load_config

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/structtoken/structtoken_pwe_vit_t_ade20k_512_160k.py")


def test_counts_follow_by_hand(command, capsys):
    # At 16x16 pixels, two blocks of 12 channels, one class: every map is one position, so that multiply-adds of
    # convolutions are their weights, and norms take 5 a number.
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
    attention = 4 * 12**2 + 2 * 12  # qkv and output projections, and two products of one token with itself
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


def test_mask_classifiers_count_the_masks_of_all_stages():
    # two of the three stages of MaskFormer with 4 queries of 32 channels, on a map of 8 x 16
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
    with pytest.raises(ValueError, match="names c; wanted some of a, b"):
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
