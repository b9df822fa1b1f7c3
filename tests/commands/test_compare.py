import json
from pathlib import Path

import pytest
from PIL import Image

from tokenseg.commands import compare
from tokenseg.commands.compare import Run

CONFIGS = Path(__file__).resolve().parents[2] / "configs/shape_scenes"
A, B = str(CONFIGS / "structtoken_pwe.py"), str(CONFIGS / "per_pixel.py")


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that have been trained. They end at once: the metric after 5 and 10 iterations is 10 and 20,
    plus the seed, twice that for the second config."""
    names = []

    def train(run, threads):
        names.append(run.folder.name)
        factor = 2 if run.name == "per_pixel" else 1
        lines = [
            {"iteration": k - 1, "sem_seg/mIoU": factor * (2 * k + run.seed), "a/S": 0.25, "b/S": 1} for k in (5, 10)
        ]
        rows = [json.dumps(row) + "\n" for row in ({"iteration": 3, "lr": 1}, *lines)]
        (run.folder / "metrics.json").write_text("".join(rows))
        (run.folder / "model_final.pth").touch()

    monkeypatch.setattr(Run, "train", train)
    return names


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_table_and_picture(command, trained, tmp_path, capsys):
    command("compare", "--config-file", A, B, "--output", str(tmp_path), "--seeds", "0", "4", "--jobs", "2")
    table = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert table[0] == ["config", "mean", "spread", "seed 0", "seed 4"]
    # standard deviation of two numbers: their distance over the root of two
    assert table[2] == ["structtoken_pwe", "22.0", "2.8", "20.0", "24.0"]
    assert table[3] == ["per_pixel", "44.0", "5.7", "40.0", "48.0"]
    assert (tmp_path / "results.csv").read_text().splitlines()[1] == "structtoken_pwe,,0,20"
    assert Image.open(tmp_path / "curves.png").size[0] > 500


def test_complete_runs_are_kept_and_others_refused(command, trained, tmp_path):
    words = ["--config-file", A, "--output", str(tmp_path), "--seeds", "0"]
    command("compare", *words)
    command("compare", *words, "1")
    assert trained == ["structtoken_pwe_seed_0", "structtoken_pwe_seed_1"]
    with pytest.raises(ValueError, match=r"holds.*wanted.*max_iter=9"):
        command("compare", *words, "train.max_iter=9")


def test_other_metrics_of_the_same_runs(command, trained, tmp_path, capsys):
    words = ["--config-file", A, "--output", str(tmp_path), "--seeds", "0"]
    command("compare", *words)
    capsys.readouterr()
    command("compare", *words, "--metric", "a/S", "b/S")
    table = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(trained) == 1 and [row[1] for row in table] == [
        "mean",
        table[1][1],
        "0.250",
        *["mean", table[1][1]],
        "1.000",
    ]
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["results.csv", "results_a_S.csv", "results_b_S.csv"]
    with pytest.raises(ValueError, match="has no a/D; wanted --metric"):
        command("compare", *words, "--metric", "a/D")


def test_a_key_may_vary(command, trained, tmp_path, capsys):
    key = "model.sem_seg_head.blocks.num_blocks"
    command("compare", "--config-file", A, "--output", str(tmp_path), "--seeds", "0", "--vary", key, "1", "2")
    table = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row[:3] for row in table] == [
        ["config", key, "mean"],
        table[1][:3],
        ["structtoken_pwe", "1", "20.0"],
        ["structtoken_pwe", "2", "20.0"],
    ]
    assert trained == ["structtoken_pwe_num_blocks_1_seed_0", "structtoken_pwe_num_blocks_2_seed_0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config-file", A, A], "different names"),
        (["--config-file", A, "--vary", "train.seed"], "has no values"),
        (["--config-file", A, "train.max_iterr=3"], "nearest: train.max_iter"),
        (["--config-file", A, "--vary", "optimizer.l", "1"], "no key 'optimizer.l'"),
    ],
)
def test_mistakes_cost_no_run(command, trained, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        command("compare", *words, "--output", str(tmp_path))
    assert trained == [] and not list(tmp_path.iterdir())


def test_a_failing_run_names_its_output(command, tmp_path, monkeypatch):
    script = tmp_path / "train_net.py"
    script.write_text("import sys; sys.exit(' '.join(sys.argv))")
    monkeypatch.setattr(compare, "TRAIN_NET", script)
    words = ["--config-file", A, "--output", str(tmp_path), "--seeds", "0", "train.device=nonsense"]
    output = tmp_path / "structtoken_pwe_seed_0/output.txt"
    with pytest.raises(ChildProcessError, match=str(output)):
        command("compare", *words)
    assert f"--config-file {A}" in output.read_text() and "train.device=nonsense" in output.read_text()
