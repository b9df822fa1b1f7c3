"""The user's own detection data: annotation files, the mistakes that are found, and class names in saved configs."""

from functools import partial
from pathlib import Path

import pytest
from detectron2.config import LazyConfig
from detectron2.data import MetadataCatalog

from annotated import RLE, content, write_annotated
from tokenseg.config.instantiate import instantiate
from tokenseg.config.load import load_config
from tokenseg.datasets.annotation_faults import annotation_faults
from tokenseg.datasets.annotation_file import category_names
from tokenseg.datasets.coco_files import own_coco
from tokenseg.datasets.records import load_records

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/own_detection.py")
pytestmark = pytest.mark.usefixtures("forget_registered")


@pytest.fixture
def paths(tmp_path):
    """A function that writes images and an annotation file, optionally changed, and returns the settings for both."""
    return partial(write_annotated, tmp_path)


def ids(name):
    return {record["image_id"] for record in load_records(name)}


def test_training_and_test_share_the_images_out(paths):
    settings = dict(paths(), classes=["a", "b"], held_out=0.3)
    train, test = (own_coco(split=split, **settings) for split in ("train", "test"))
    assert len(ids(train)) == 7 and ids(train) | ids(test) == {*range(10)} and not ids(train) & ids(test)
    assert {one["category_id"] for record in load_records(train) for one in record["annotations"]} == {1}
    assert own_coco(split="train", **settings) == train != own_coco(split="train", **settings | {"held_out": 0.4})


def test_a_test_file_of_its_own(paths):
    settings = dict(paths(), classes=["a", "b"])
    test = paths(lambda changed: changed["images"].pop(), name="test.json")["annotations"]
    name = own_coco(split="test", **settings, test_annotations=test)
    assert ids(name) == {*range(9)} and MetadataCatalog.get(name).json_file == test
    assert ids(own_coco(split="train", **settings, test_annotations=test)) == {*range(10)}


def test_the_classes_are_those_of_the_file_and_travel_with_the_config(paths, tmp_path):
    settings = paths()
    config = load_config(CONFIG, [f"dataset.{key}={path}" for key, path in settings.items()])
    assert config.dataset.classes == ["a", "b"] and config.model.roi_heads.num_classes == 2
    config.model = {}
    LazyConfig.save(config, str(tmp_path / "config.yaml"))
    Path(settings["annotations"]).unlink()
    saved = load_config(str(tmp_path / "config.yaml"))
    metadata = MetadataCatalog.get(instantiate(saved.dataset.test))
    assert metadata.thing_classes == ["a", "b"] and len(metadata.thing_colors) == 2


def test_classes_may_be_named_instead():
    assert load_config(CONFIG, ["dataset.classes=[x,y,z]"]).dataset.num_classes == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"is \$\{category_names:.*\}, but the annotation file '.*' does not exist \(looked in .*; wanted anoth"),
        ("not JSON", "cannot be read as JSON"),
        ("[]", "has no list of mappings under 'images'"),
        ('{"images": [], "annotations": [], "categories": [3]}', "has no list of mappings under 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": "a"}]}', "has the category {'id': 'a'}"),
    ],
)
def test_files_without_classes_are_refused_with_the_config(tmp_path, text, message):
    path = tmp_path / "objects.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(CONFIG, [f"dataset.annotations={path}"])


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([(1, "a"), (1, "b")], "the same id or name; wanted different"),
        ([(1, "a"), (2, "a")], "the same id or name"),
        ([(1, "a\tb")], r"has the categories 'a\\tb'; wanted names without control"),
    ],
)
def test_categories_are_told_apart(paths, categories, message):
    def change(changed):
        changed["categories"] = [{"id": place, "name": name} for place, name in categories]

    with pytest.raises(ValueError, match=message):
        category_names(paths(change)["annotations"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_images": "x"}, "without dataset.test_annotations"),
        ({"held_out": 1.0}, "held_out is 1.0; wanted a share"),
        ({"classes": ["b", "a"]}, "has the classes a, b, in the order of their ids; wanted .* in this order: b, a"),
        ({"images": "nowhere"}, "the folder of images, .*nowhere', does not exist"),
        ({"held_out": 0.01}, "the 10 images of .* are too few"),
    ],
)
def test_what_does_not_fit_is_told(paths, settings, message):
    with pytest.raises(ValueError, match=message):
        load_records(own_coco(split="test", **{**paths(), "classes": ["a", "b"], **settings}))


def test_a_file_that_would_stop_the_training_is_refused_before(paths):
    settings = paths(lambda changed: changed["annotations"][4].update(category_id=5))
    with pytest.raises(ValueError, match=r"1 times a category_id that is not among .*, first annotation 4 of 4\.png"):
        load_records(own_coco(split="train", classes=["a", "b"], **settings))


TWO_POINTS = [1, 1, 5, 4]


@pytest.mark.parametrize(
    ("change", "what", "stops"),
    [
        ({"id": 0}, "an annotation id that another", True),
        ({"category_id": 4}, "a category_id that is not among", True),
        ({"bbox": [1, 1, 4]}, "without id, image_id, category_id or a bbox of four", True),
        ({"bbox": [1, 1, 4, float("nan")]}, "without id, image_id, category_id or a bbox of four", True),
        ({"ignore": 1}, "marked as 'ignore'", True),
        ({"segmentation": RLE | {"size": [8, 6]}, "iscrowd": 1}, "neither a list of polygons nor", True),
        ({"segmentation": [1, 1, 5, 1, 5, 4]}, "neither a list of polygons nor", True),
        ({"segmentation": RLE}, "where polygons are expected", True),
        ({"segmentation": []}, "an object without a mask", True),
        ({"segmentation": [], "iscrowd": 1}, None, False),
        ({"segmentation": RLE, "iscrowd": 1}, None, False),
        ({"segmentation": RLE | {"counts": [48]}, "iscrowd": 1}, "a mask without area", False),
        ({"segmentation": RLE | {"counts": "`1"}, "iscrowd": 1}, "a mask without area", False),
        ({"segmentation": [[1, 1, 5, 4, 3, 2.5]]}, "a mask without area", False),
        ({"segmentation": [TWO_POINTS, [1, 1, 5, 1, 5, 4]]}, "fewer than three points", False),
        ({"image_id": 99}, "an image that is not listed", False),
        ({"bbox": [1, 1, 0, 3]}, "a box without area", False),
        ({"bbox": [1, 1, 9, 3]}, "a box that extends beyond its image", False),
        ({"bbox": [-0.5, 0, 9, 6.5]}, None, False),
    ],
)
def test_faults_of_annotations(change, what, stops):
    changed = content()
    changed["annotations"][3].update(change)
    faults = annotation_faults(changed, mask_format="polygon")
    assert [what in fault.what for fault in faults] == ([True] if what else [])
    assert all(fault.stops == stops and len(fault.places) == 1 for fault in faults)


@pytest.mark.parametrize(
    ("change", "what", "stops"),
    [
        ({"id": 0}, "an image id that another", True),
        ({"width": "8"}, "an image without id, file_name, height or width", True),
        ({"file_name": "0.png"}, "listed as two images", False),
    ],
)
def test_faults_of_images(change, what, stops):
    changed = content()
    changed["images"][3].update(change)
    faults = {fault.what: fault for fault in annotation_faults(changed)}
    fault = next(fault for fault in faults.values() if what in fault.what)
    assert fault.stops == stops and len(fault.places) == 1


def test_masks_are_asked_for_by_models_of_masks_alone():
    changed = content()
    changed["annotations"][0]["segmentation"], changed["annotations"][1]["segmentation"] = [], RLE
    assert annotation_faults(changed) == []
    assert [fault.what for fault in annotation_faults(changed, mask_format="bitmask")] == ["an object without a mask"]
