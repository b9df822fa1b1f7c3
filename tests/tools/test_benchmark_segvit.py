import json

import pytest

SMALL = [
    "dataset={crop: 48, num_classes: 5}",
    "vit={model_name: vit_tiny_patch16_224, channels: 24, last_block: 3}",
    "model.backbone.timm_args={embed_dim: 24, depth: 4, num_heads: 3}",
    "model.backbone.out_blocks=[1,3]",
    "decoder={width: 16, num_heads: 2}",
    "model.inference.stride=31",
]


@pytest.mark.parametrize(
    ("variant", "overrides"),
    [
        ("plain", []),
        pytest.param(
            "shrunk", ["model.backbone.downsample.block=2"], marks=pytest.mark.slow("benchmark of SegViT Shrunk")
        ),
    ],
)
def test_every_case_runs_with_equal_outputs(variant, overrides, benchmark, capsys):
    benchmark("segvit", "--only", variant, "--pairs", "1", "--json", *SMALL, *overrides)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["case"] for row in rows] == [
        f"{variant} {part} {mode}" for part in ("head", "model") for mode in ("step", "inference")
    ]
    assert all(row["times faster"] > 0 and row["difference"] < 1e-4 for row in rows)
