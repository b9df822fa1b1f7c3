"""The benchmark of a training's start; tests/tools/test_benchmark.py tests the common parts of all benchmarks."""

import json

import pytest
import torch

from benchmarks._runs import Clock
from benchmarks.start import ROOT, Start

RUNS = [
    [["import", 4.0, 2.0], ["step", 1.0, 0.5]],
    [["import", 6.0, 3.0], ["step", 2.0, 1.5]],
    [["import", 5.0, 9.0], ["step", 9.0, 1.0]],
]


def test_rows_are_medians_of_each_stage_and_of_the_sums(monkeypatch):
    starts = iter([[["import", 99.0, 99.0], ["step", 99.0, 99.0]], *RUNS])  # the first round is not counted
    monkeypatch.setattr(Start, "_start", lambda *_: next(starts))
    rows = Start(checkouts={"here": ROOT}, config="quickstart", overrides=[]).measure(Clock(torch.device("cpu")), 3)
    assert [(row["checkout"], row["stage"], row["s"], row["CPU s"]) for row in rows] == [
        ("here", "import", 5.0, 3.0),
        ("here", "step", 2.0, 1.0),
        ("here", "all", 8.0, 4.5),
    ]


@pytest.mark.slow("the start of a training, stage by stage")
def test_a_start_is_measured(benchmark, capsys):
    small = ["dataloader.train.num_workers=0", "dataloader.train.total_batch_size=1", "dataloader.evaluator=null"]
    benchmark("start", "--pairs", "1", "--json", "--device", "cpu", "dataset.level=basic", *small)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["stage"] for row in rows][:2] == ["Python, arguments", "import of torch"]
    assert [row["stage"] for row in rows][-2:] == ["weights, first iteration", "all"]
    assert all(row["checkout"] == "this checkout" and row["s"] >= 0 for row in rows)
    assert rows[-1]["CPU s"] == pytest.approx(sum(row["CPU s"] for row in rows[:-1]))


@pytest.mark.slow("the start of a training, stage by stage")
def test_a_start_that_fails_says_why(capsys):
    start = Start(checkouts={"here": ROOT}, config="nowhere", overrides=[])
    with pytest.raises(ChildProcessError, match=r"the training of .* did not start"):
        start.measure(Clock(torch.device("cpu")), 1)
    assert "nowhere" in capsys.readouterr().err
