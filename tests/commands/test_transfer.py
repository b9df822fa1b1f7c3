import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tokenseg.commands import transfer
from tokenseg.tables.table_file import chosen_rows, planned_runs, read_table_file

ROOT = Path(__file__).resolve().parents[2]
NAME_OF_FILE = "train.init_backbone.file"


def test_the_rows_differ_in_their_start_alone():
    file = chosen_rows(read_table_file(transfer.TABLE), list(transfer.ROWS.values()), [transfer.SEED])
    first, *rest = sorted(planned_runs(file), key=lambda run: len(run.needs))
    assert [run.row.name for run in (first, *rest)] == ["pretrain_sgr", "scratch", "sgr"]
    assert f"{NAME_OF_FILE}={first.folder}/backbone.safetensors" in rest[-1].overrides


@pytest.mark.slow("the whole transfer as a user starts it")
def test_it_ends_with_two_lines_and_a_picture(tmp_path):
    words = ["--output", str(tmp_path), "train.max_iter=2", "lr_multiplier.warmup_iter=0"]
    narrow = ["pyramid.channels=[8,8,8,8]", "dataloader.train.total_batch_size=2"]
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/transfer.py"), *words, *narrow]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.splitlines()[-2:]
    for line, title in zip(last, ("SGR-pretrained", "from scratch"), strict=True):
        assert re.fullmatch(rf"{title} +box AP: (\d+\.\d|nan)  mask AP: (\d+\.\d|nan)", line), line
    assert "[3 of 3] sgr, seed 0: box AP" in done.stdout
    assert Image.open(tmp_path / "transfer.png").size[0] > 1200
