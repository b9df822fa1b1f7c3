import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from counted_images import counted
from tokenseg.commands import compare
from tokenseg.commands.compare import Run

CONFIGS = Path(__file__).resolve().parents[2] / "configs/shape_scenes"
A, B = str(CONFIGS / "structtoken_pwe.py"), str(CONFIGS / "per_pixel.py")


@pytest.fixture
def trained(monkeypatch):
    """The names of the runs that have been trained, in order.

    Trainings end immediately. The metric is 10 plus the seed after 5 iterations, and 20 plus the seed after 10; it is
    twice as large for the second config.
    """
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
    compared = ["above structtoken_pwe by", "95% interval", "verdict"]
    assert table[0] == ["config", "mean", "spread", "seed 0", "seed 4", *compared]
    # The standard deviation of two numbers is their distance divided by the root of two.
    assert table[2] == ["structtoken_pwe", "22.0", "2.8", "20.0", "24.0", "-", "-", "-"]
    # The pairs differ by 20 and 24. The mean is 22, its standard error is 2, and Student's t is 12.706.
    assert table[3] == ["per_pixel", "44.0", "5.7", "40.0", "48.0", "+22.0", "-3.4 to +47.4", "cannot be told"]
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
    with pytest.raises(ValueError, match="has no a/D; wanted one of its keys"):
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
    monkeypatch.setattr(compare, "train_command", lambda *words: [sys.executable, str(script), *words])
    words = ["--config-file", A, "--output", str(tmp_path), "--seeds", "0", "train.device=nonsense"]
    output = tmp_path / "structtoken_pwe_seed_0/output.txt"
    with pytest.raises(ChildProcessError, match=str(output)):
        command("compare", *words)
    assert f"--config-file {A}" in output.read_text() and "train.device=nonsense" in output.read_text()


@pytest.fixture
def ended(tmp_path):
    """A function that writes the folder of a run that has ended after ten iterations, and returns its path."""

    def make(name, seed, miou, iteration=9):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(f"train: {{seed: {seed}, max_iter: 10, best_metric: sem_seg/mIoU}}")
        row = {"iteration": iteration, "sem_seg/mIoU": miou, "tokens_class/S_C": miou / 100}
        (folder / "metrics.json").write_text(json.dumps(row) + "\n")
        return str(folder)

    return make


def test_groups_of_runs_are_paired_by_seed(command, ended, capsys):
    fcn = [ended(f"fcn{seed}", seed, miou) for seed, miou in ((0, 40), (1, 60), (2, 50))]
    sgr = [ended(f"sgr{seed}", seed, miou) for seed, miou in ((2, 52), (0, 41.9), (1, 62.1))]
    command("compare", "--group", "FCN", *fcn, "--group", "SGR", *sgr)
    table = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert table[0][:6] == ["", "mean", "spread", "seed 0", "seed 1", "seed 2"]
    # The differences are 1.9, 2.1 and 2.0, with a standard deviation of 0.1, so the interval is 2.0 +- 4.3027 * 0.1 /
    # sqrt(3).
    assert table[3] == ["SGR", "52.0", "10.1", "41.9", "62.1", "52.0", "+2.0", "+1.8 to +2.2", "above"]
    command("compare", "--group", "SGR", *sgr, "--group", "FCN", *fcn, "--metric", "tokens_class/S_C")
    assert cells(capsys.readouterr().out.splitlines()[-1])[-3:] == ["-0.020", "-0.022 to -0.018", "below"]


def test_runs_without_a_partner_or_an_end_are_told(command, ended):
    one, other = ended("one", 0, 40), ended("other", 1, 50)
    with pytest.raises(ValueError, match="group B has the seeds 1, and A 0; wanted the same"):
        command("compare", "--group", "A", one, "--group", "B", other)
    with pytest.raises(ValueError, match="two runs of group A have the seed 0"):
        command("compare", "--group", "A", one, one)
    with pytest.raises(ValueError, match=r"of iteration 5; wanted that of the last iteration, 10"):
        command("compare", "--group", "A", ended("cut", 0, 40, iteration=4))
    with pytest.raises(ValueError, match=r"config.yaml cannot be read; wanted the folder of a training"):
        command("compare", "--group", "A", one + "/nowhere")


def test_groups_over_images(command, tmp_path, capsys):
    for name, correct in (("a", [[2], [2], [2]]), ("b", [[3], [3], [3]])):
        counted(correct, correct, [[4], [4], [4]]).write(tmp_path / f"{name}.npz")
    words = ["--group", "A", tmp_path / "a.npz", "--group", "B", tmp_path / "b.npz", "--over", "images"]
    command("compare", *words, "--resamples", "20")
    table = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert table[2:] == [
        ["A", "50.00", "50.00 to 50.00", "-", "-", "-"],
        ["B", "75.00", "75.00 to 75.00", "+25.00", "+25.00 to +25.00", "above"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "A"], "wanted different names, each with its folders"),
        (["--group", "A", "x", "--group", "A", "y"], "wanted different names"),
        (["--group", "A", "x", "train.seed=1"], "wanted it without overrides of the config"),
        (["--group", "A", "x", "--over", "images", "--metric", "a/S"], "the only metric that --over images supports"),
        (["--config-file", A, "--output", "x", "--over", "images"], "wanted --group"),
        (["--config-file", A, "--output", "x", "--jobs", "0"], "--jobs is 0; wanted 1 or more"),
    ],
)
def test_mistakes_in_groups(command, words, message):
    with pytest.raises(ValueError, match=message):
        command("compare", *words)


@pytest.mark.parametrize("words", [[], ["--config-file", A], ["--config-file", A, "--group", "A", "x"]])
def test_either_configs_or_groups(command, capsys, words):
    with pytest.raises(SystemExit):
        command("compare", *words)
    assert "wanted either" in capsys.readouterr().err or words == ["--config-file", A]
