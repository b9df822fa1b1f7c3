"""The page of a report, which is generated from the folder of a run and read by an HTML parser."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from conftest import TOY_BOXES
from evaluated_run import HOSTILE, evaluate
from tokenseg.engine.metrics_file import write_results
from tokenseg.evaluation.image_counts import ImageCounts
from tokenseg.report.drawings import extreme_images
from tokenseg.visualize import error_map

VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Collects the tags, addresses and text of a page; a tag that is closed out of order is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.words, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data.strip())


@pytest.fixture
def run(toy_predictor, toy_dataset, tmp_path):
    """The folder of a run with an evaluation; the name of the first class contains HTML."""
    MetadataCatalog.get(toy_dataset).stuff_classes[0] = HOSTILE
    folder = tmp_path / "toy_model"
    results = evaluate(folder, toy_dataset)
    return folder, results["sem_seg"], results


def test_the_page_has_everything_inside(command, run, tmp_path):
    folder, metrics, _ = run
    command("report", folder, "--output", tmp_path / "page.html", "--images", "2", "--device", "cpu")
    page = Page((tmp_path / "page.html").read_text())
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert page.tags.count("script") == 1 and HOSTILE in page.words  # as text, not as a tag
    assert f"{metrics['mIoU']:.2f}" in page.words and f"{metrics['IoU-green']:.1f}" in page.words
    pictures = [address for address in page.addresses if address.startswith("data:")]
    # For the two best and the two worst images: image, label, prediction and errors.
    assert len(pictures) == 4 * 4
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2]))).mode == "RGB"


def test_further_metrics_are_shown(command, run, tmp_path):
    folder, _, results = run
    write_results(folder, results | {"tokens_class": {"S_C": 1.25}})  # as --eval-only does
    command("report", folder, "--no-models", "--output", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert {"By size", "By frequency", "Calibration", "boundary IoU"} <= set(page.words)
    assert {"boundary/mIoU", "size/IoU_medium", "frequency/mIoU_tail", "calibration/ECE"} <= set(page.words)
    assert {"tokens_class/S_C", "1.25"} <= set(page.words)
    row = page.words.index("small, from 0 pixels")
    cells = [word for word in page.words[row:] if word][2:4]
    assert cells == [f"{results['size'][f'{kind}_small']:.1f}" for kind in ("ACC", "IoU")]
    assert f"toy_model: expected calibration error {results['calibration']['ECE']:.1f} %" in page.words
    assert any(words.startswith("head, 1: ") for words in page.words) and "rect" in page.tags
    for path in (folder / "inference").glob("sem_seg_[bsf]*.csv"):
        path.unlink()
    (folder / "inference/sem_seg_calibration.csv").unlink()
    command("report", folder, "--no-models", "--output", tmp_path / "page.html")
    assert "#further" not in Page((tmp_path / "page.html").read_text()).addresses


def test_runs_stand_side_by_side(command, run, tmp_path, capsys):
    folder, *_ = run
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text((folder / "config.yaml").read_text())
    command("report", folder, tmp_path / "other", "--no-models", "--output", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert {"toy_model", "other"} <= set(page.words) and "img" not in page.tags


@pytest.mark.slow("a detector's report")
def test_detectors_are_shown_with_what_they_find(command, toy_detector, tmp_path, capsys):
    folder = Path(toy_detector[0]).parent
    (folder / "weights.pth").rename(folder / "model_final.pth")
    (folder / "metrics.json").write_text('{"iteration": 9, "fast_rcnn/cls_accuracy": 0.5}\n')
    write_results(folder, {"bbox": {"AP": 12.5, "AP-a": 25.0}})
    command("report", folder, "--output", tmp_path / "page.html", "--device", "cpu")
    page = Page((tmp_path / "page.html").read_text())
    assert "share of pixels" not in page.words
    assert "missing" not in capsys.readouterr().out and {"bbox/AP", "12.50", "bbox AP", "25.0"} <= set(page.words)
    # It is shown as a curve only, not in the summary.
    assert page.words.count("fast_rcnn/cls_accuracy") == 1 and "parameters in millions" in page.words
    assert [f"annotated: {len(boxes)}" in page.words for boxes in TOY_BOXES] == [True] * len(TOY_BOXES)
    assert sum(words.endswith("with a score of 0.5 or more") for words in page.words) == len(TOY_BOXES)


def test_what_is_missing_is_said(command, run, tmp_path, capsys):
    folder, *_ = run
    (folder / "model_final.pth").unlink()
    command("report", folder, "--output", tmp_path / "page.html", "--device", "cpu")
    assert "Some of this page is missing" in capsys.readouterr().out
    assert any("has no weights; wanted" in words for words in Page((tmp_path / "page.html").read_text()).words)
    with pytest.raises(ValueError, match=r"has no config.yaml; wanted the output folder"):
        command("report", tmp_path)
    with pytest.raises(ValueError, match=r"RUN is .*config.yaml, a file; wanted the output folder"):
        command("report", folder / "config.yaml")
    with pytest.raises(ValueError, match="a run is given twice"):
        command("report", folder, folder)


def test_best_and_worst_images_differ():
    correct = np.array([[5], [1], [9], [0]])
    counts = ImageCounts(np.array(list("abcd")), np.array(["x"]), correct, correct, np.array([[10], [10], [10], [0]]))
    assert extreme_images(counts, 1) == (["c"], ["b"])
    assert extreme_images(counts, 5) == (["c"], ["b"])  # d has no label at all


def test_errors_are_red_and_ignored_pixels_white():
    picture = error_map(np.array([[0, 1, 1]]), np.array([[0, 0, 255]]), 255)
    assert picture.tolist() == [[[226, 232, 226], [200, 40, 40], [255, 255, 255]]]
