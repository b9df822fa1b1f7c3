import json

import pytest

SMALL = [
    "dataset={crop: 64, num_classes: 12}",
    "pyramid={model_name: swin_tiny_patch4_window7_224, channels: [8, 16, 32, 64]}",
    "model.backbone.timm_args={embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8], window_size: 4}",
    "model.sem_seg_head.width=8",
]


@pytest.mark.slow("benchmarks of ECENet and of whole models")
def test_every_case_runs_with_equal_outputs(benchmark, capsys):
    benchmark("ecenet", "--pairs", "1", "--json", *SMALL)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["case"] for row in rows} == {"head step", "head inference", "profile fp32", "profile bf16"}
    parts = [row["part"] for row in rows if row["case"] == "profile fp32"]
    assert parts[0] == "backbone" and parts[-1] == "all" and len(parts) == 16
