"""What goes wrong before or in a run is told in one line."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image
from torch.utils.data import get_worker_info

from tokenseg.data.mapper import SemSegMapper
from train_net_runs import error_line, invoke


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["train.max_itr=3"], "no key 'train.max_itr'; nearest: train.max_iter"),
        (["--eval-only"], "needs weights"),
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


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow("bad data in a worker of the loader"))])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_images, r"data set 'toy_sem_seg' cannot be read from .*/images"),
        (empty_folders, r"data set 'toy_sem_seg' cannot be read from .*/images"),
        (label_out_of_range, r"labels/0\.png holds the ids 7; wanted 0 to 2"),
        (label_of_another_size, r"images/0\.png has height x width 32x32, its label map .*/0\.png has 31x32"),
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
    assert "most likely because memory ran out" in line and "dataloader.train.num_workers" in line


def test_a_loss_that_is_not_finite_is_told(arguments, tmp_path):
    line = error_line([*arguments, "optimizer.lr=1e15", "lr_multiplier.warmup_iter=0"])
    assert re.search(r"not finite at iteration \d: loss_sem_seg=(nan|inf); files of the batch: .*\.png", line)


def test_weights_of_another_model_are_refused(arguments, toy_predictor, tmp_path):
    foreign = toy_predictor[1]
    for extra in (["--eval-only"], []):
        line = error_line([*arguments, f"train.init_checkpoint={foreign}", *extra])
        assert "contains none of the model's" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_an_error(arguments):
    with pytest.raises(ValueError, match="finds no GPU"):
        invoke([*arguments, "train.device=cuda"])


def test_an_earlier_run_is_not_overwritten(arguments, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/last_checkpoint").write_text("model_final.pth")
    with pytest.raises(ValueError, match="wanted --resume"):
        invoke(arguments)


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
    assert "--num-gpus is 2 and --num-machines is 1, but a launcher has started 2 process(es)" in line
