import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tokenseg.commands import quickstart

ROOT = Path(__file__).resolve().parents[2]


def test_the_faster_layout_is_chosen(monkeypatch):
    times = {(1, 4): 0.5, (4, 1): 0.4}
    monkeypatch.setattr(quickstart, "seconds_per_iteration", lambda processes, threads, _: times[processes, threads])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert quickstart.choose_layout([]) == (4, 1)
    times[1, 4] = 0.3
    assert quickstart.choose_layout([]) == (1, 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert quickstart.choose_layout([]) == (1, 1)


@pytest.mark.slow("the quickstart as a user starts it")
def test_it_ends_with_a_table_a_number_and_a_picture(tmp_path):
    words = [f"train.output_dir={tmp_path}/run", "train.max_iter=2", "lr_multiplier.warmup_iter=0"]
    words += ["dataloader.train.total_batch_size=2"]
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/quickstart.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    last = done.stdout.splitlines()
    assert last[-1].startswith("mIoU: ") and 0 <= float(last[-1].split()[1]) <= 100
    assert "| triangle" in done.stdout
    assert Image.open(tmp_path / "run/predictions.png").size[0] > 700
