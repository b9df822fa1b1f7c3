"""train_net.py in processes of its own: signals, launchers, two processes, a full disk."""

import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runs import left_behind
from tokenseg.engine.processes import free_meeting
from train_net_runs import ROOT, TINY, metrics, run_script, script, weights


def started(folder, *words):
    """A run in a process of its own, once it has taken some steps."""
    shared = ["train.max_iter=100000", "train.checkpointer.period=5", "train.eval_period=0"]
    run = subprocess.Popen(
        script(*shared, f"train.output_dir={folder}", *words),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while run.poll() is None and not (folder / "last_checkpoint").exists():
        time.sleep(0.05)
    return run


@pytest.mark.slow("runs that are stopped by a signal")
@pytest.mark.parametrize(
    ("signum", "code", "name", "processes"),
    [(signal.SIGTERM, 143, "SIGTERM", 2), (signal.SIGINT, 130, "Ctrl-C", 2), (signal.SIGINT, 130, "Ctrl-C", 1)],
)
def test_signals_end_a_run_in_one_line(tmp_path, signum, code, name, processes):
    run = started(tmp_path, "--num-gpus", str(processes), "dataloader.train.num_workers=1")
    begin = time.monotonic()
    run.send_signal(signum)
    line = run.communicate(timeout=60)[1].splitlines()[-1]
    last = tmp_path / (tmp_path / "last_checkpoint").read_text()
    assert (run.returncode, line) == (code, f"train_net.py: stopped by {name}; --resume continues from {last}")
    assert time.monotonic() - begin < 20 and torch.load(last)["iteration"] > 4


def processes_of(group):
    """The numbers of processes of a process group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        found += [path.parent.name] if int(number) == group and state != "Z" else []
    return found


@pytest.mark.slow("runs that are stopped by a signal")
def test_processes_end_with_a_parent_that_is_killed_where_ctrl_c_is_ignored(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(subprocess, "Popen", functools.partial(subprocess.Popen, start_new_session=True))
    try:
        run = started(tmp_path, "--num-gpus", "2")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(processes_of(run.pid)) >= 3
    run.kill()
    run.wait()
    time.sleep(1)
    assert processes_of(run.pid) == []


@pytest.mark.slow("two processes train as one")
def test_torchrun_trains_one_model(tmp_path):
    """Its metrics are those of the saved weights, with statistics of batch norms, as a single process finds them."""
    words = ["--config-file", str(ROOT / "configs/shape_scenes/sgr_sgr.py"), *TINY[2:11]]
    words += ["pyramid.channels=[8,8,16,16]", "model.backbone.components.res5.width=8", f"train.output_dir={tmp_path}"]
    words += ["dataset.crop=64"]
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
    port = free_meeting().split(":")[-1]
    done = subprocess.run(
        [*torchrun, port, str(ROOT / "train_net.py"), *words], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "log.txt.rank1").exists() and [row["iteration"] for row in metrics(tmp_path)] == [0, 1, 2, 3]
    last = metrics(tmp_path)[-1]["sem_seg/mIoU"]
    weights = f"train.init_checkpoint={tmp_path}/model_final.pth"
    alone = [sys.executable, "-W", "ignore", str(ROOT / "train_net.py"), *words, "--eval-only", weights]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and f"{last:.4f}" in done.stdout


@pytest.mark.slow("train_net.py as a process of its own")
def test_the_command_ends_in_one_clear_line():
    done = run_script("train.max_itr=3")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train_net.py: error: the config has no key 'train.max_itr'")
    assert "Traceback" not in done.stderr


@pytest.mark.slow("two processes train as one")
def test_two_processes_equal_one(tmp_path):
    """Crops, flips, padding and ignored borders are drawn alike, and the ranks' losses weigh by their valid pixels."""
    shared = ["dataset.num_classes=13", "model.backbone.drop_path_rate=0", "model.sem_seg_head.blocks.drop_path=0"]
    # a large eps keeps Adam from blowing rounding errors of tiny gradients up to whole steps
    shared += ["train.max_iter=20", "train.eval_period=0", "dataloader.train.total_batch_size=8", "optimizer.eps=0.01"]
    for processes in (1, 2):
        done = run_script(*shared, f"train.output_dir={tmp_path}/{processes}", processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (weights(tmp_path / f"{processes}/model_final.pth") for processes in (1, 2))
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-6, msg=key)
    single, double = (metrics(tmp_path / str(processes))[-1]["sem_seg/mIoU"] for processes in (1, 2))
    assert double == pytest.approx(single, abs=0.05)


@pytest.mark.slow("compiled training")
def test_compiled_training_runs(tmp_path):
    done = run_script("dataset.num_classes=13", "train.compile=true", f"train.output_dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sem_seg/mIoU" in metrics(tmp_path / "run")[-1]
    assert not any("_orig_mod" in key for key in weights(tmp_path / "run/model_final.pth"))


@pytest.mark.slow("training on a full disk")
def test_a_full_disk_costs_no_earlier_checkpoint(tmp_path):
    shared = [
        "dataset.num_classes=13",
        f"train.output_dir={tmp_path}",
        "train.eval_period=0",
        "train.checkpointer.period=1",
    ]
    assert run_script(*shared, "train.max_iter=2").returncode == 0
    saved = (tmp_path / "last_checkpoint").read_text()
    limit = (tmp_path / saved).stat().st_size // 2
    full = run_script(*shared, "--resume", limit=limit)
    assert full.returncode == 1
    assert "cannot be written" in full.stderr.splitlines()[-1] and "Traceback" not in full.stderr
    assert (tmp_path / "last_checkpoint").read_text() == saved and weights(tmp_path / saved)
    assert not list(tmp_path.glob("*.unfinished"))
    done = run_script(*shared, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(tmp_path / "model_final.pth")["iteration"] == 3


@pytest.mark.slow("errors of one of two processes")
def test_errors_of_other_processes_are_told_in_one_line(tmp_path):
    done = run_script("dataset.num_classes=3", f"train.output_dir={tmp_path}", processes=2)
    assert done.returncode == 1
    assert "wanted 0 to 2" in done.stderr.splitlines()[-1] and "label file" in done.stderr.splitlines()[-1]


@pytest.mark.slow("an evaluation made up by two processes")
def test_two_processes_make_up_what_was_cut(tmp_path):
    """As if both were killed in the final evaluation."""
    shared = ["dataset.num_classes=13", "train.eval_period=0", "model.inference.stride=32"]
    shared += [f"train.output_dir={tmp_path}"]
    assert run_script(*shared, processes=2).returncode == 0
    unbroken = left_behind(tmp_path)
    (tmp_path / "model_best.pth").unlink()
    rows = [*unbroken["rows"][:-1], {"iteration": 3, "total_loss": 1.0}, {"iteration": 4}]
    (tmp_path / "metrics.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = run_script(*shared, "--resume", processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert left_behind(tmp_path) == unbroken
