import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from detectron2.config import LazyConfig

from tokenseg.commands import make_table
from tokenseg.config.load import load_config
from tokenseg.tables.table_file import chosen_rows, planned_runs, read_table_file

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/shape_scenes/baseline_color.py"
TABLE = """
output: {output}
seeds: [0, 2]
tables:
  - title: Pretraining
    metrics: {{mIoU: sem_seg/mIoU}}
    rows:
      first: {{config: {config}, then: ["export --output {{here}}/backbone"]}}
  - title: Fine-tuning
    metrics: {{box AP: bbox/AP}}
    rows:
      plain: {{config: {config}, title: from scratch, priority: -1}}
      second: {{config: {config}, overrides: ["train.init_checkpoint={{first}}/backbone", optimizer.lr=0.5]}}
"""
# A stand-in for the training. It records each call, performs ten iterations of SLOW seconds each, resumes where it was
# interrupted, and fails if its output folder contains the text FAIL.
TRAIN = """
import json, os, sys, time
values = dict(word.split("=", 1) for word in sys.argv if "=" in word)
folder, start = values["train.output_dir"], values.get("train.init_checkpoint")
with open(os.environ["CALLS"], "a") as calls:
    print("train", folder, file=calls)
if os.environ.get("FAIL", "no run") in folder:
    sys.exit("it failed")
assert "--resume" in sys.argv and (start is None or os.path.exists(start)), sys.argv
path = f"{folder}/metrics.json"
done = len(open(path).readlines()) if os.path.exists(path) else 0
for iteration in range(done, 10):
    time.sleep(float(os.environ.get("SLOW", 0)))
    row = {"iteration": iteration, "sem_seg/mIoU": 50.0, "bbox/AP": 10.0 + int(values["train.seed"])}
    with open(path, "a") as file:
        print(json.dumps(row), file=file)
"""
# A stand-in for all other commands, of which it knows one.
EXPORT = """
import os, sys
name, flag, *words = sys.argv[1:]
if name != "export":
    sys.exit(f"there is no command '{name}'")
if flag != "--help":
    open(words[0], "w")
    print("export", words[0], file=open(os.environ["CALLS"], "a"))
"""


class InThisProcess:
    """Replaces subprocess.Popen: it runs a script in this process, which takes only milliseconds."""

    def __init__(self, words, **_options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            try:
                exec(Path(words[1]).read_text(), {})
                self.code = 0
            except SystemExit as end:
                self.code = 1 if end.code else 0

    def poll(self):
        return self.code


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """The path of a table file whose runs execute stand-ins for the training and for another command."""
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "other.py").write_text(EXPORT)
    monkeypatch.setattr(make_table, "train_command", lambda *words: [sys.executable, f"{tmp_path}/train.py", *words])
    monkeypatch.setattr(make_table, "tokenseg_command", lambda *words: [sys.executable, f"{tmp_path}/other.py", *words])
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr("tokenseg.tables.queue._LOOK_EVERY", 0.01)
    path = tmp_path / "table.yaml"
    path.write_text(TABLE.format(output=tmp_path / "out", config=CONFIG))
    return path


@pytest.fixture
def table(processes, monkeypatch):
    """The same table file, whose runs are executed without starting processes."""
    monkeypatch.setattr("tokenseg.tables.queue.subprocess", SimpleNamespace(Popen=InThisProcess, STDOUT=None))
    monkeypatch.setattr("tokenseg.tables.queue._LOOK_EVERY", 0.0)
    return processes


def calls(table):
    """The calls of the stand-ins, such as `train plain/seed_0`."""
    lines = (table.parent / "calls").read_text().splitlines()
    return [line.replace(f"{table.parent}/out/", "") for line in lines]


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_what_a_run_needs_comes_right_before_it(table):
    runs = planned_runs(read_table_file(table), ["train.log_period=5"])
    assert list(map(str, runs)) == [
        *("plain, seed 0", "plain, seed 2", "first, seed 0", "second, seed 0", "first, seed 2", "second, seed 2")
    ]
    folder = table.parent / "out/first/seed_2"
    assert runs[-1].overrides[0] == f"train.init_checkpoint={folder}/backbone" and runs[-1].needs == (runs[-2],)
    assert runs[-1].overrides[2:4] == ("train.log_period=5", "train.seed=2")
    assert runs[-2].then == (("export", "--output", f"{folder}/backbone"),)


def test_some_rows_and_seeds_with_what_they_need(table):
    runs = planned_runs(chosen_rows(read_table_file(table), ["second"], [2]))
    assert list(map(str, runs)) == ["first, seed 2", "second, seed 2"]


def test_runs_are_made_once_and_stand_in_a_table(command, table, capsys):
    words = ["make_table", table, "--jobs", "1"]
    assert command(*words, "--seeds", "0") is None
    made = ["train plain/seed_0", "train first/seed_0", "export first/seed_0/backbone", "train second/seed_0"]
    assert calls(table) == made
    assert cells(capsys.readouterr().out)[-1] == ["second", "1", "10.0"]
    assert command(*words) is None
    assert calls(table) == [*made, *(line.replace("seed_0", "seed_2") for line in made)]
    # The standard deviation of two numbers is their distance divided by the root of two.
    assert cells((table.parent / "out/tables.md").read_text())[-2] == ["from scratch", "2", "11.0 +- 1.4"]
    assert (table.parent / "out/results.csv").read_text().splitlines()[-1] == "Fine-tuning,second,2,box AP,12.0"


def test_a_run_that_another_command_has_finished_meanwhile_is_kept(command, table, monkeypatch):
    words = ["make_table", table, "--rows", "plain", "--seeds", "0", "--jobs", "1"]
    command(*words)
    answers = iter([False])  # the answer to the first question, at the start of the command
    monkeypatch.setattr("tokenseg.tables.queue.is_finished", lambda run: next(answers, True))
    assert command(*words) is None and calls(table) == ["train plain/seed_0"]


def test_a_run_that_fails_stops_only_those_that_need_it(command, table, monkeypatch, capsys):
    words = ["make_table", table, "--jobs", "1"]
    monkeypatch.setenv("FAIL", "first/seed_0")
    assert command(*words) == 1
    said = capsys.readouterr()
    assert said.err.split("failed:")[1].count("\n  ") == 2
    assert "first, seed 0: exit code 1" in said.err and "second, seed 0: needs first, seed 0" in said.err
    assert cells(said.out)[-1] == ["second", "1 of 2", "12.0"]
    monkeypatch.setenv("FAIL", "no run")
    assert command(*words) is None
    assert calls(table)[-3:] == ["train first/seed_0", "export first/seed_0/backbone", "train second/seed_0"]


@pytest.mark.slow("processes of a table that is stopped")
def test_a_table_that_was_stopped_goes_on(command, processes, monkeypatch):
    table = processes
    path = table.parent / "out/plain/seed_0/metrics.json"
    monkeypatch.setenv("SLOW", "0.03")
    with monkeypatch.context() as patch:

        def stop(seconds):
            if path.exists() and path.read_text():
                raise KeyboardInterrupt

        patch.setattr("tokenseg.tables.queue.time.sleep", stop)
        with pytest.raises(KeyboardInterrupt):
            command("make_table", table, "--rows", "plain", "--jobs", "1")
    done = len(path.read_text().splitlines())
    assert 0 < done < 10 and calls(table) == ["train plain/seed_0"]
    command("make_table", table, "--rows", "plain", "--jobs", "2")
    assert len(path.read_text().splitlines()) == 10 and len(calls(table)) == 3


@pytest.mark.slow("a table whose command is killed takes its trainings with it")
def test_trainings_end_with_the_command(processes, tmp_path):
    table = processes
    start = (
        "import sys; from tokenseg.commands import make_table as m; "
        f"m.train_command = lambda *words: [sys.executable, '{tmp_path}/train.py', *words]; "
        "from tokenseg_cli.run import run; sys.exit(run('make_table', sys.argv))"
    )
    words = [sys.executable, "-c", start, str(table), "--rows", "plain", "--jobs", "2"]
    first = subprocess.Popen(words, env=os.environ | {"SLOW": "0.5"}, stdout=subprocess.PIPE)
    path = table.parent / "out/plain/seed_2/metrics.json"
    while not path.exists():
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    done = len(path.read_text().splitlines())
    time.sleep(1.5)
    assert len(path.read_text().splitlines()) <= done + 1 < 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{first}", "{frist}", "row second names a row 'frist'; wanted some of first, plain, second"),
        ("priority", "prority", r"row plain .* has a key 'prority'.*nearest: priority"),
        ("metrics: {box AP: bbox/AP}", "", "a table of .* has no metrics"),
        ("metrics: {box AP", "baseline: first\n    metrics: {box AP", "the baseline 'first'; wanted a row of 'Fine"),
        (
            "title: from",
            "without: [mask AP], title: from",
            "row plain .* lists mask AP under `without`; wanted columns .* are box AP",
        ),
        ("{here}/backbone", "{second}", "row first needs itself: first needs second needs first"),
        ("optimizer.lr=0.5", "optimizer.rl=1", "no key 'optimizer.rl'"),
        ("export --output", "exprot --output", "has the command 'exprot' in `then`: there is no command 'exprot'"),
        ("title: from scratch", "seeds: [0], overrides: ['train.init_checkpoint={second}/x'], priority: 3", None),
    ],
)
def test_mistakes_in_the_file_cost_no_run(command, table, old, new, message):
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    if message is None:
        assert len(planned_runs(read_table_file(table))) == 5
        return
    with pytest.raises(ValueError, match=message):
        command("make_table", table)
    assert not (table.parent / "calls").exists()


def test_finished_runs_with_other_overrides_are_refused(command, table):
    command("make_table", table, "--rows", "plain", "--seeds", "0", "--jobs", "1")
    with pytest.raises(
        ValueError, match=r"out/plain/seed_0 holds a finished run with overrides .*wanted .*log_period=5"
    ):
        command("make_table", table, "train.log_period=5")


def test_rows_are_compared_with_a_baseline(command, table):
    table.write_text(table.read_text().replace("metrics: {box AP", "baseline: plain\n    metrics: {box AP"))
    command("make_table", table, "--jobs", "1")
    *_, plain, second = cells((table.parent / "out/tables.md").read_text())
    assert plain == ["from scratch", "2", "11.0 +- 1.4", "-"]
    # Both seeds have the same difference, so the interval is a single point.
    assert second == ["second", "2", "11.0 +- 1.4", "+0.0 (+0.0 to +0.0)"]


def test_a_row_may_be_without_a_column(command, table):
    """A baseline without a number has no column of differences from it."""
    text = table.read_text().replace("{box AP: bbox/AP}", "{box AP: bbox/AP, mask AP: segm/AP}\n    baseline: plain")
    table.write_text(text.replace("title: from", "without: [mask AP], title: from"))
    assert command("make_table", table, "--rows", "plain", "--seeds", "0", "--jobs", "1") is None
    assert cells((table.parent / "out/tables.md").read_text())[-1] == ["from scratch", "1", "10.0", "-", "-"]


def test_a_config_that_changed_since_is_told(command, table, capsys):
    words = ["make_table", table, "--rows", "plain", "--seeds", "0", "--jobs", "1"]
    command(*words)
    folder = table.parent / "out/plain/seed_0"
    config = load_config(str(CONFIG), ["train.seed=0", f"train.output_dir={folder}"])
    LazyConfig.save(config, str(folder / "config.yaml"))
    capsys.readouterr()
    command(*words)
    assert "config that has changed" not in capsys.readouterr().out
    config.model.sem_seg_head.layers.channels[1] = 32
    LazyConfig.save(config, str(folder / "config.yaml"))
    command(*words)
    assert f"{folder} was finished with a config that has changed since" in capsys.readouterr().out


def test_a_metric_that_was_not_measured_is_named(command, table, capsys):
    table.write_text(table.read_text().replace("bbox/AP", "segm/AP"))
    assert command("make_table", table, "--rows", "plain", "--seeds", "0", "--jobs", "1") == 1
    assert "has no segm/AP; wanted some of its metrics: bbox/AP, sem_seg/mIoU" in capsys.readouterr().err
