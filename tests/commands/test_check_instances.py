"""The command check_dataset on annotation files for detection."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotated import RLE, write_annotated

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def check(command, tmp_path, capsys, forget_registered):
    """A function that writes images and an annotation file, runs the tool, and returns its exit code and output."""

    def run(change=lambda changed: None, *words, spoil=lambda folder: None):
        folder = tmp_path / "data"
        folder.mkdir()
        settings = write_annotated(folder, change)
        spoil(folder)
        words = [*(f"dataset.{key}={path}" for key, path in settings.items()), *words]
        code = command("check_dataset", "--config-file", CONFIGS / "own_detection.py", *words)
        return code, " ".join(capsys.readouterr().out.split())

    return run


def test_good_data(check):
    def change(changed):
        changed["annotations"][0]["category_id"] = changed["annotations"][1]["category_id"] = 3
        changed["annotations"].append(changed["annotations"][5] | {"id": 10, "iscrowd": 1, "segmentation": RLE})
        changed["annotations"] = [one for one in changed["annotations"] if one["image_id"] != 8]

    code, out = check(change, "dataset.held_out=0.3")
    assert code == 0 and "ERROR" not in out and out.endswith("A training can run on this data.")
    assert "train: 7 images of" in out and "test: 3 images of" in out and "1 without objects" in out
    assert "height 6 / 6 / 6, width 8 / 8 / 8 pixels" in out
    counts = [[int(word) for word in out.split(f" {name} ")[part].split()[:4]] for part in (1, 2) for name in "ab"]
    assert np.add(counts[:2], counts[2:]).tolist() == [[2, 2, 3 + 3, 0], [7, 7, 3 + 3, 1]]  # sides: of 4 x 3 pixels


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["annotations"][2].update(category_id=1), "a category_id that is not among the categories, first"),
        (
            lambda c: c["annotations"][2].update(id=0),
            "an annotation id that another annotation has, first",
        ),
        (lambda c: c["annotations"][2].pop("segmentation"), "an object without a mask, first annotation 2 of 2.png."),
        (lambda c: c.update(annotations=[]), "train: no image has an object other than crowds"),
    ],
)
def test_what_stops_a_training(check, change, told):
    code, out = check(change)
    assert code == 1 and told in out and "Errors to fix first: 1" in out


def test_masks_in_another_form_than_the_mapper_takes(check):
    def change(changed):
        changed["annotations"][2]["segmentation"] = RLE

    code, out = check(change, "dataset.mask_format=polygon")
    assert code == 1 and "ERROR objects.json: 1 times a run-length encoded mask where polygons are expected" in out
    assert "Cure: set dataset.mask_format=bitmask" in out


def test_odd_annotations_are_noted(check):
    def change(changed):
        changed["annotations"][2]["bbox"] = [-30, 1, 40, 4]

    code, out = check(change)
    assert code == 0 and "NOTE objects.json: 1 times a box that extends beyond its image and is clipped, first" in out
    assert "NOTE train: classes that never occur: a. Cure: add images" in out
    assert "NOTE test: classes that never occur: a. Cure: none needed" in out


def test_images_that_stop_a_training(check):
    def spoil(folder):
        (folder / "0.png").write_bytes(b"")
        (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:-60])
        Image.new("RGB", (8, 7)).save(folder / "2.png")
        Image.new("I;16", (8, 6)).save(folder / "3.png")
        turned = Image.new("RGB", (8, 6))
        turned.getexif()[274] = 6
        turned.save(folder / "4.png", exif=turned.getexif())
        Image.open(folder / "6.png").save(folder / "5.png")

    code, out = check(spoil=spoil)
    assert code == 1 and "Errors to fix first: 5" in out
    for what in (
        "(first 0.png): a file is empty. Cure: copy it again, or remove the image from",
        "(first 1.png): the image cannot be read: image file",
        "(first 2.png): the size of the image differs from that in the annotation file. Cure: use",
        "(first 3.png): the file would be misread: image file",
        "(first 4.png): its EXIF orientation rotates the image, but not the size",
    ):
        assert what in out
    assert "NOTE: 1 times an image is" in out


def test_classes_of_another_order_in_the_test(check, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_annotated(tmp_path / "other", lambda changed: changed["categories"][0].update(id=1))
    code, out = check(lambda changed: None, f"dataset.test_annotations={other['annotations']}")
    assert code == 1
    assert "ERROR objects.json: the classes, in the order of their ids, are b, a; the model's are a, b." in out


def test_registered_data_is_checked_too(command, capsys):
    words = ["--config-file", CONFIGS / "detection/mask_rcnn_dc5_resnet_101_coco_800_270k.py", "--split", "train"]
    with pytest.raises(ValueError, match=r"instances_train2017\.json' .*in \$DETECTRON2_DATASETS, now"):
        command("check_dataset", *words)


def test_missing_images_are_told(check):
    with pytest.raises(ValueError, match=r"1 files are missing, such as .*3\.png"):
        check(spoil=lambda folder: (folder / "3.png").unlink())
