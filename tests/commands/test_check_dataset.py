from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/quickstart.py")
HALF = np.repeat([[0, 1]], 8, axis=1).repeat(12, axis=0).astype(np.uint8)  # (12, 16), with one class on each side


@pytest.fixture
def check(command, tmp_path, capsys):
    """A function that writes five images with label maps, runs the tool, and returns its exit code and output."""

    def run(labels, *words, change=None):
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir()
        for place in range(5):
            label = labels(place) if callable(labels) else labels
            image = np.random.randint(0, 256, (*label.shape[:2], 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / f"images/{place}.png")
            Image.fromarray(label).save(tmp_path / f"labels/{place}.png")
        if change:
            change(tmp_path)
        folders = [f"dataset.images={tmp_path}/images", f"dataset.labels={tmp_path}/labels"]
        code = command("check_dataset", *folders, *words)
        return code, " ".join(capsys.readouterr().out.split())

    return run


def test_good_data(check):
    code, out = check(HALF, "dataset.classes=[left,right]", "dataset.crop=14")
    assert code == 0 and "ERROR" not in out and "NOTE" not in out
    assert "train: 4 images of" in out and "test: 1 images of" in out
    assert "height 12 / 12 / 12, width 16 / 16 / 16" in out
    assert "4 have a side below the training crop of 14" in out
    assert "0 0 left 384 50.00 4 1 1 1 right 384 50.00 4 1" in out


def test_masks_of_0_and_255(check):
    code, out = check(HALF * 255)
    assert code == 1 and "(ignored)" in out
    assert "ERROR train: the label maps contain only 0 and 255" in out and "'dataset.id_map={0: 0, 255: 1}'" in out


def test_the_cure_cures(check):
    code, out = check(HALF * 255, "dataset.id_map={0: 0, 255: 1}")
    assert code == 0 and "ERROR" not in out
    assert "0 0 background 384 50.00 4 1 255 1 object 384 50.00 4 1" in out


@pytest.mark.parametrize(
    ("label", "classes", "cure"),
    [
        (HALF + 1, "[a,b]", "'dataset.id_map={1: 0, 2: 1}'"),
        (np.where(HALF == 1, 2, np.arange(16) % 2).astype(np.uint8), "[a,b]", "{0: ignore, 1: 0, 2: 1}"),
        (HALF * 128, "[a,b]", "'dataset.id_map={0: 0, 128: 1}'"),
        (np.tile([0, 90, 255], (4, 5)).astype(np.uint8), "[a,b,c]", "{0: 0, 90: 1, 255: 2}"),
        (np.tile([0, 90, 255], (4, 5)).astype(np.uint8), "[a,b]", "{0: 0, 90: 1, 255: ignore}"),
        (np.tile([0, 7, 9], (4, 5)).astype(np.uint8), "[a,b]", "name a class for each of the ids 0, 7, 9 in"),
        (np.arange(96, dtype=np.uint8).reshape(8, 12), "[a,b]", "come from JPEG or from resizing"),
    ],
)
def test_ids_that_are_no_class(check, label, classes, cure):
    code, out = check(label, f"dataset.classes={classes}")
    assert code == 1 and "): the label map contains ids that are not classes" in out
    assert cure in out and "NO CLASS" in out


def test_ids_that_the_map_lacks(check):
    code, out = check(HALF * 7, "dataset.id_map={0: 0, 255: 1}")
    assert code == 1 and "Cure: map them in dataset.id_map to a class id or the word ignore: 7" in out


def test_files_that_stop_a_training(check):
    def spoil(folder):
        (folder / "images/0.png").write_bytes(b"")
        (folder / "images/1.png").write_bytes((folder / "images/1.png").read_bytes()[:-60])
        (folder / "labels/2.png").write_bytes(b"no image")
        Image.new("RGB", (16, 12)).save(folder / "labels/3.png")
        Image.new("L", (16, 11)).save(folder / "labels/4.png")

    code, out = check(HALF, change=spoil)
    assert code == 1
    for what in (
        "(first 0.png): a file is empty. Cure",
        "(first 1.png): the image cannot be read: image file",
        "(first 2.png): the label map cannot be read: label file",
        "(first 3.png): the label map contains colours, not ids. Cure: list the colours",
        "(first 4.png): the size of the label map differs from that of the image. Cure: export it",
    ):
        assert what in out


@pytest.mark.parametrize(
    ("tag", "code", "told"),
    [
        (6, 1, "orientation rotates the image, but not the label map"),
        (3, 0, "rotates the image when it is read, but not its labels"),
    ],
)
def test_orientation(check, tag, code, told):
    def turn(folder):
        for path in (folder / "images").iterdir():
            image = Image.open(path)
            image.getexif()[274] = tag
            image.save(path, exif=image.getexif())

    got, out = check(HALF, change=turn)
    assert got == code and told in out and "exiftool -Orientation=" in out


def test_notes_on_images_and_copies(check):
    def change(folder):
        Image.fromarray(np.full((12, 16), 70, dtype=np.uint8)).save(folder / "images/0.png")
        Image.new("RGBA", (16, 12)).save(folder / "images/2.png")
        for place in (3, 4):
            Image.new("CMYK", (16, 12)).save(folder / f"images/{place}.png", format="TIFF")

    code, out = check(HALF, "dataset.held_out=0.5", change=change)
    assert code == 0
    for what in ("is grey", "has transparency", "is in CMYK"):
        assert f"the image {what}" in out
    assert "times an image occurs more than once" in out


@pytest.mark.parametrize(
    ("label", "words", "code", "told"),
    [
        (HALF, ["dataset.classes=[a,b,c]"], 0, "NOTE train: classes that never occur: c."),
        (HALF * 0, [], 1, "ERROR train: the label maps contain only class 0."),
        (HALF * 0 + 255, [], 1, "ERROR train: the label maps contain no class."),
        (HALF * 0, ["dataset.classes=[a]"], 1, "name the background as a class too"),
        (np.tile([0, 1, 255, 255, 255], (4, 2)).astype(np.uint8), [], 0, "NOTE train: 60 % of the pixels are ignored"),
        (lambda place: HALF if place % 2 else HALF * 0 + 255, [], 0, "the label map is ignored completely"),
    ],
)
def test_labels_that_teach_little(check, label, words, code, told):
    got, out = check(label, *words)
    assert got == code and told in out


def test_a_part_is_looked_at(check):
    code, out = check(HALF, "--limit", "2", "--split", "train", "dataset.classes=[a,b,c]")
    assert code == 0 and "train: 2 images" in out and "test:" not in out
    assert "classes that never occur in the files that were checked" in out


def test_registered_data_is_checked_too(command, toy_dataset, capsys):
    words = ["--config-file", CONFIG, "dataset.num_classes=3"]
    code = command("check_dataset", *words, f"dataset.train={toy_dataset}", f"dataset.test={toy_dataset}")
    out = capsys.readouterr().out
    assert code == 0 and "NOTE: 6 times an image is in training and test, first 0.png (train), 0.png (test)" in out
    with pytest.raises(ValueError, match=r"3 class names; wanted dataset\.num_classes, 4"):
        command("check_dataset", *words[:2], "dataset.num_classes=4", f"dataset.train={toy_dataset}")
