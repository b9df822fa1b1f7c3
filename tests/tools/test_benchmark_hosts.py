import json

import pytest

pytestmark = pytest.mark.slow("the benchmark of the hosts")


def test_every_case_runs_with_equal_outputs(benchmark, capsys):
    pytest.importorskip("transformers")
    benchmark("hosts", "--pairs", "1", "--json", "--size", "64", "--batch", "1")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    parts, modes = ("mask2former", "attention"), ("inference", "step")
    assert [row["case"] for row in rows] == [f"{part} {mode}" for part in parts for mode in modes]
    assert all(row["times faster"] > 0 and row["difference"] < 1e-3 for row in rows)


def test_overrides_are_refused(benchmark):
    with pytest.raises(ValueError, match="wanted --batch, --size or --classes"):
        benchmark("hosts", "dataset.crop=64")
