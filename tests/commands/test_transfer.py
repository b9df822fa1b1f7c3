import re

import pytest
from PIL import Image

from tokenseg.commands import transfer
from tokenseg.tables.table_file import chosen_rows, planned_runs, read_table_file

NAME_OF_FILE = "train.init_backbone.file"


def test_the_rows_differ_in_their_start_alone():
    file = chosen_rows(read_table_file(transfer.TABLE), list(transfer.ROWS.values()), [transfer.SEED])
    first, *rest = sorted(planned_runs(file), key=lambda run: len(run.needs))
    assert [run.row.name for run in (first, *rest)] == ["pretrain_sgr", "scratch", "sgr"]
    assert f"{NAME_OF_FILE}={first.folder}/backbone.safetensors" in rest[-1].overrides


@pytest.mark.slow("the whole transfer, as small as can be")
def test_it_ends_with_two_lines_and_a_picture(command, tmp_path, monkeypatch, capsys):
    # Validation uses fewer images than the usual 100. The paths of the configs are relative to the table.
    text = transfer.TABLE.read_text().replace("../", f"{transfer.TABLE.parent}/../")
    shorter = text.replace("train_50]", "train_50, dataset.test=shapes_instance_train_10]", 1)
    assert text != shorter
    (tmp_path / "table.yaml").write_text(shorter)
    monkeypatch.setattr(transfer, "TABLE", tmp_path / "table.yaml")
    # The stages have different widths. With equal widths, a stage with stride 1 would have no shortcut weights to load.
    narrow = ["pyramid.channels=[4,8,12,16]", "dataloader.train.total_batch_size=2"]
    command("transfer", "--output", tmp_path, "train.max_iter=2", "lr_multiplier.warmup_iter=0", *narrow)
    said = capsys.readouterr().out
    for line, title in zip(said.splitlines()[-2:], ("SGR-pretrained", "from scratch"), strict=True):
        assert re.fullmatch(rf"{title} +box AP: (\d+\.\d|nan)  mask AP: (\d+\.\d|nan)", line), line
    assert "[3 of 3] sgr, seed 0: box AP" in said
    assert Image.open(tmp_path / "transfer.png").size[0] > 1200
