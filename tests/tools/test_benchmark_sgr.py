import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "pyramid={model_name: resnet18, channels: [8, 16, 32, 64]}",
    "model.backbone.backbone.timm_args={channels: [8, 16, 32, 64]}",
    "model.backbone.components.res5.width=16",
    "dataset={crop: 64, num_classes: 5}",
    "sgr={num_concepts: 8, num_active: 6}",
]


def test_every_part_of_sgr_is_listed(benchmark, capsys):
    benchmark("sgr", "--pairs", "1", "--batch", "1", "--classes", "3", "--json", "--device", "cpu", *TINY)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    step = {row["part"]: row["forward s"] for row in rows if row["case"] == "step parts"}
    assert {"backbone", "SGR: regions", "targets", "matching: costs", "matching: assignment", "losses"} <= set(step)
    assert all(seconds > 0 for part, seconds in step.items() if part not in ("rest", "all"))
    duels = [row for row in rows if "difference" in row]
    assert len(duels) == 2 and all(row["difference"] < 1e-4 for row in duels)


@pytest.mark.slow("benchmarks of ECENet and of whole models")
def test_throughput_of_a_model_with_regions(benchmark, capsys):
    config = str(ROOT / "configs/sgr/fcn_sgr_resnet_101_ade20k_512_160k.py")
    benchmark("throughput", "--config-file", config, "--pairs", "1", "--json", "--device", "cpu", *TINY)
    assert len(capsys.readouterr().out.splitlines()) == 2
