"""train_net.py as a user calls it, on a toy data set and a toy model."""

import functools
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image
from torch.utils.data import get_worker_info

from runs import left_behind
from tokenseg.commands import train
from tokenseg.config.load import load_config
from tokenseg.data.mapper import SemSegMapper
from tokenseg.engine import evaluation
from tokenseg.engine.processes import free_meeting
from tokenseg_cli.run import parse, run

ROOT = Path(__file__).resolve().parents[1]


def invoke(words):
    """The command in this process, whose errors come through."""
    train.main(parse("tokenseg_cli.arguments.train", ["train_net.py", *words]))


TINY = [
    "--config-file",
    str(ROOT / "configs/quickstart.py"),
    "train.device=cpu",
    "train.max_iter=4",
    "train.eval_period=2",
    "train.log_period=1",
    "train.checkpointer.period=2",
    "lr_multiplier.warmup_iter=1",
    "dataloader.train.total_batch_size=4",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "dataset={crop: 32, short_side: 32, long_side: 128, num_classes: 3}",
    "model.inference.stride=24",
    "vit={channels: 24, last_block: 1}",
    "model.backbone.timm_args={depth: 2, num_heads: 2}",
    "model.sem_seg_head.blocks.num_blocks=1",
    "model.backbone.drop_path_rate=0.1",
    "model.sem_seg_head.blocks.drop_path=0.1",
]


@pytest.fixture
def arguments(toy_dataset, tmp_path):
    return [*TINY, f"dataset.train={toy_dataset}", f"dataset.test={toy_dataset}", f"train.output_dir={tmp_path}/run"]


def weights(path):
    return torch.load(path)["model"]


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_a_run_leaves_all_it_should(arguments, tmp_path):
    invoke([*arguments, "--num-gpus", "1"])
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "environment.txt", "log.txt", "metrics.json", "last_checkpoint"} <= names
    assert {"model_0000001.pth", "model_0000003.pth", "model_final.pth", "model_best.pth"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any("unfinished" in name for name in names)
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    assert "torch==" in (run / "environment.txt").read_text()
    assert "sem_seg/mIoU" in metrics(run)[-1] and (run / "inference/sem_seg_per_class.csv").exists()

    config, weights = f"{run}/config.yaml", f"train.init_checkpoint={run}/model_final.pth"
    single = (run / "inference/sem_seg_per_class.csv").read_text()
    invoke(["--config-file", config, "--eval-only", weights])
    assert (run / "inference/sem_seg_per_class.csv").read_text() == single
    invoke(["--config-file", config, "--eval-only", weights, "train.tta.enabled=true"])
    assert (run / "inference/sem_seg_per_class.csv").read_text() != single


def test_the_config_is_printed_and_nothing_done(tmp_path, capsys):
    invoke([*TINY, "--print-config", "optimizer.lr=0.5", f"train.output_dir={tmp_path}/out"])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    config = load_config(str(tmp_path / "config.yaml"))
    assert config.optimizer.lr == 0.5 and config.dataset.crop == 32 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "change", "losses"),
    [
        (
            "sgr_sgr",
            "model.backbone.components.res5.width=8",
            {"loss_sem_seg", "loss_aux_sem_seg", "loss_region_focal", "loss_region_cosine"},
        ),
        (
            "hosts_mask_former",
            "model.sem_seg_head={width: 64, hidden: 32, num_queries: 4}",
            {"loss_focal", "loss_dice", "loss_class"},
        ),
    ],
    ids=["sgr", "mask_former"],
)
def test_metrics_of_tokens_stand_beside_miou(config, change, losses, toy_dataset, tmp_path, monkeypatch):
    words = [word for word in TINY[2:] if not word.startswith(("vit", "model"))]
    words += ["pyramid.channels=[8,8,16,16]", "train.max_iter=2", "train.init_checkpoint=", change]
    words += [f"dataset.{split}={toy_dataset}" for split in ("train", "test")]
    config = ["--config-file", str(ROOT / f"configs/shape_scenes/{config}.py")]
    invoke([*config, *words, f"train.output_dir={tmp_path}/run"])
    first, *_, last = metrics(tmp_path / "run")
    assert losses <= set(first)
    assert {"sem_seg/mIoU", "tokens_class/S_C", "tokens_class/D_C"} <= set(last)
    assert 0 <= last["tokens_class/S_C_of_max"] <= 1 and last["tokens_class/images"] == 6
    weights = f"train.init_checkpoint={tmp_path}/run/model_final.pth"
    results = {}
    monkeypatch.setattr(evaluation, "print_csv_format", results.update)
    invoke([*config, *words, "--eval-only", weights, f"train.output_dir={tmp_path}/eval"])
    assert results["tokens_class"]["S_C"] == pytest.approx(last["tokens_class/S_C"])
    assert results["sem_seg"]["mIoU"] == pytest.approx(last["sem_seg/mIoU"])
    several = ["train.tta.enabled=true", "train.tta.scales=[0.5,1.0]"]
    invoke([*config, *words, *several, "--eval-only", weights, f"train.output_dir={tmp_path}/several"])
    # regions are those of the whole image at one scale
    assert results["tokens_class"]["S_C"] == pytest.approx(last["tokens_class/S_C"], rel=1e-4)


def test_resumed_equals_unbroken(arguments, tmp_path):
    """Weights, optimiser, schedule, data and random numbers (there is stochastic depth), bit for bit."""
    invoke(arguments)
    broken = [*arguments[:-1], f"train.output_dir={tmp_path}/broken"]
    invoke(broken)
    (tmp_path / "broken/last_checkpoint").write_text("model_0000001.pth")  # as if killed after two iterations
    invoke([*broken, "--resume", "dataloader.train.num_workers=1"])
    wanted, got = (torch.load(tmp_path / folder / "model_final.pth") for folder in ("run", "broken"))
    assert (
        wanted["trainer"]["optimizer"]["param_groups"][0]["lr"] == got["trainer"]["optimizer"]["param_groups"][0]["lr"]
    )
    for part in (lambda c: c["model"], lambda c: flat_state(c["trainer"]["optimizer"])):
        assert part(wanted).keys() == part(got).keys()
        assert [key for key, value in part(wanted).items() if not torch.equal(value, part(got)[key])] == []


def test_a_resume_with_other_settings(arguments, tmp_path, caplog):
    invoke([*arguments, "train.max_iter=2"])
    before = (tmp_path / "run/config.yaml").read_bytes()
    line = error_line([*arguments, "--resume", "optimizer.lr=1", "train.seed=3"])
    assert "optimizer.lr is 1 and was" in line and "dataloader.train.seed is 3 and was 0" in line
    assert (tmp_path / "run/config.yaml").read_bytes() == before
    logging.getLogger("tokenseg").propagate = True
    invoke([*arguments, "--resume"])
    assert "Changed settings take effect: train.max_iter is 4 and was 2" in caplog.text


def groups(checkpoint):
    return checkpoint["trainer"]["optimizer"]["param_groups"]


def flat_state(optimizer):
    return {(place, key): value for place, state in optimizer["state"].items() for key, value in state.items()}


def test_mixed_precision_accumulation_and_clipping(arguments, tmp_path):
    extra = ["train.amp.enabled=true", "train.accumulate=2", "train.clip_grad_norm=1.0"]
    invoke([*arguments, *extra, "model.backbone.activation_checkpointing=true"])
    steps = [line for line in metrics(tmp_path / "run") if "total_loss" in line]
    assert len(steps) == 4 and all(line["total_loss"] > 0 and line["grad_norm"] > 0 for line in steps)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["train.max_itr=3"], "no key 'train.max_itr'; nearest: train.max_iter"),
        (["--eval-only"], "wants weights"),
        (["--eval-only", "train.init_checkpoint=nowhere.pth"], "'nowhere.pth' do not exist"),
        (["train.init_checkpoint=nowhere.pth"], "'nowhere.pth' do not exist"),
        (["dataset.train=nonesuch"], "data set 'nonesuch' is not registered"),
        (["train.accumulate=3"], "wanted a divisor of the 4 images"),
        (["lr_multiplier.warmup_iter=9"], "wanted 0 to train.max_iter"),
        (["train.amp={enabled: true, dtype: float16}"], "needs a GPU"),
        (["train.output_dir=/proc/none"], "cannot be written"),
    ],
)
def test_mistakes_are_told(arguments, extra, message):
    assert re.search(message, error_line([*arguments, *extra]))


def error_line(arguments):
    """The one line that the command ends in."""
    with pytest.raises(SystemExit) as stop:
        run("train", ["train_net.py", *arguments])
    assert stop.value.code.startswith("train_net.py: error: ") and "\n" not in stop.value.code
    return stop.value.code


def remove_images(images, labels):
    shutil.rmtree(images)


def empty_folders(images, labels):
    for path in [*images.iterdir(), *labels.iterdir()]:
        path.unlink()


def label_out_of_range(images, labels):
    Image.fromarray(np.full((32, 32), 7, dtype=np.uint8)).save(labels / "0.png")


def label_of_another_size(images, labels):
    Image.fromarray(np.zeros((31, 32), dtype=np.uint8)).save(labels / "0.png")


def truncated_image(images, labels):
    (images / "0.png").write_bytes((images / "0.png").read_bytes()[:80])


def image_of_no_bytes(images, labels):
    (images / "0.png").write_bytes(b"")


def truncated_label(images, labels):
    (labels / "0.png").write_bytes((labels / "0.png").read_bytes()[:40])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_images, r"data set 'toy_sem_seg' cannot be read from .*/images"),
        (empty_folders, r"data set 'toy_sem_seg' cannot be read from .*/images"),
        (label_out_of_range, r"labels/0\.png holds the ids 7; wanted 0 to 2"),
        (label_of_another_size, r"images/0\.png has height x width 32x32, its label map .*/0\.png 31x32"),
        (truncated_image, r"image file .*images/0\.png cannot be read"),
        (image_of_no_bytes, r"image file .*images/0\.png cannot be read"),
        (truncated_label, r"label file .*labels/0\.png cannot be read"),
    ],
)
def test_bad_data_is_told(arguments, toy_dataset, spoil, message, workers):
    images = Path(MetadataCatalog.get(toy_dataset).image_root)
    spoil(images, images.parent / "labels")
    extra = [f"dataloader.train.num_workers={workers}", f"dataloader.test.num_workers={workers}"]
    assert re.search(message, error_line([*arguments, *extra]))
    log = next(word.partition("=")[2] for word in arguments if word.startswith("train.output_dir=")) + "/log.txt"
    assert "Traceback" not in Path(log).read_text()


def test_a_worker_that_is_killed_is_told(arguments, monkeypatch):
    whole = SemSegMapper.__call__

    def killed(self, record):
        return os._exit(9) if get_worker_info() else whole(self, record)

    monkeypatch.setattr(SemSegMapper, "__call__", killed)
    line = error_line([*arguments, "dataloader.train.num_workers=1"])
    assert "most likely for want of memory" in line and "dataloader.train.num_workers" in line


def test_a_loss_that_is_not_finite_is_told(arguments, tmp_path):
    line = error_line([*arguments, "optimizer.lr=1e15", "lr_multiplier.warmup_iter=0"])
    assert re.search(r"not finite at iteration \d: loss_sem_seg=(nan|inf); files of the batch: .*\.png", line)


def test_weights_of_another_model_are_refused(arguments, toy_predictor, tmp_path):
    foreign = toy_predictor[1]
    for extra in (["--eval-only"], []):
        line = error_line([*arguments, f"train.init_checkpoint={foreign}", *extra])
        assert "holds none of the model's" in line


def test_another_class_count_needs_a_switch(arguments, toy_dataset, tmp_path):
    invoke([*arguments, "train.max_iter=1", "lr_multiplier.warmup_iter=0"])
    more = [*arguments[:-1], f"train.output_dir={tmp_path}/more", "dataset.num_classes=4"]
    more += [
        f"train.init_checkpoint={tmp_path}/run/model_final.pth",
        "train.eval_period=0",
        "dataloader.evaluator=null",
    ]
    with pytest.raises(ValueError, match=r"of another shape: .*tokens \(1, 3, 4, 4\), wanted \(1, 4, 4, 4\)"):
        invoke(more)
    invoke([*more, "train.skip_mismatched=true", "train.overwrite=true"])
    assert weights(tmp_path / "more/model_final.pth")["sem_seg_head.tokens"].shape[1] == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_an_error(arguments):
    with pytest.raises(ValueError, match="finds no GPU"):
        invoke([*arguments, "train.device=cuda"])


def test_an_earlier_run_is_not_overwritten(arguments, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/last_checkpoint").write_text("model_final.pth")
    with pytest.raises(ValueError, match="wanted --resume"):
        invoke(arguments)


def script(*words):
    return [sys.executable, "-W", "ignore", str(ROOT / "train_net.py"), *TINY, "dataset.num_classes=13", *words]


@pytest.mark.parametrize(
    ("environment", "extra", "message"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "2"}, [], "OMPI_COMM_WORLD_SIZE is 2: Open MPI's mpirun has started several"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, [], "but not LOCAL_RANK"),
        (dict.fromkeys(("RANK", "LOCAL_RANK"), "0"), ["--num-gpus", "2"], "but not WORLD_SIZE"),
    ],
)
def test_launchers_that_cannot_be(arguments, monkeypatch, environment, extra, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert message in error_line([*arguments, *extra])


def test_two_launchers_at_once_are_refused(arguments, monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    line = error_line([*arguments, "--num-gpus", "2"])
    assert "--num-gpus is 2 and --num-machines 1, while a launcher has started 2 process(es)" in line


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
    assert (run.returncode, line) == (code, f"train_net.py: stopped by {name}; --resume goes on from {last}")
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


def run_script(*words, processes=1, limit=None):
    """train_net.py in a process of its own, on the generated data set; `limit` bounds the size of files, in bytes."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "train_net.py"), *TINY, *words, "--num-gpus", str(processes)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
    )


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
