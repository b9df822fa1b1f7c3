import csv

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from tokenseg.plain_text import caption_text, csv_text, markdown_text, plot_text, unprintable


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+2", "'=1+2"),
        ("+car", "'+car"),
        ("-x", "'-x"),
        ("@sum", "'@sum"),
        ("-0.5", "-0.5"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_formulas_in_cells(name, cell):
    assert csv_text(name) == cell


def test_dollars_and_control_characters():
    assert plot_text("US$ and $x") == r"US\$ and \$x"
    assert unprintable(["car", "véhicule", "a b", "", "\x1b[31m", "a\u202eb"]) == ["''", r"'\x1b[31m'", r"'a\u202eb'"]


def test_captions_are_one_short_line():
    assert caption_text("véhicule") == "véhicule" and caption_text("a\nb\x1b") == r"'a\nb\x1b'"
    assert caption_text("a" * 9, longest=8) == "a" * 7 + "…"


@pytest.fixture
def strange_names(toy_dataset):
    metadata = MetadataCatalog.get(toy_dataset)
    names = metadata.as_dict()["stuff_classes"]
    saved, names[:] = [*names], ["=1+2", "a$x$b", r"$\frac$"]
    yield toy_dataset
    names[:] = saved


def test_tables_of_strange_names(strange_names, tmp_path):
    from tokenseg.evaluation.sem_seg import ConfusionEvaluator

    ids = np.arange(3).repeat(4).reshape(3, 4)
    label = {"file_name": "a", "sem_seg_file_name": str(tmp_path / "label.png")}
    Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "label.png")
    evaluator = ConfusionEvaluator(dataset_name=strange_names, output_dir=str(tmp_path), distributed=False)
    evaluator.reset()
    evaluator.process([label], [{"class_ids": torch.from_numpy(ids)}])
    evaluator.evaluate()
    with open(tmp_path / "sem_seg_per_class.csv", newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["'=1+2", "a$x$b", r"$\frac$"]


def test_markdown_shows_names_as_they_are():
    assert markdown_text("road | [x](y) <b>") == r"road \| \[x\]\(y\) \<b\>"
