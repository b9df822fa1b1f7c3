import json
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog

from tokenseg.datasets.ground_truth import GroundTruth


@pytest.fixture
def coco(toy_instances):
    """The path of the toy annotation file, a function that changes the file, and the folder of the images."""
    metadata = MetadataCatalog.get(toy_instances)

    def change(edit):
        path = Path(metadata.json_file)
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return metadata.json_file, change, metadata.image_root


def test_data_sets_and_files_know_the_same(toy_instances, coco):
    file, _, images = coco
    for truth in (GroundTruth.of_dataset(toy_instances), GroundTruth.of_file(file)):
        found = truth.instances(truth.record(f"{images}/../instances/0.png"), (40, 48))
        assert found.names == ["a", "b"] and found.boxes.tolist() == [[4, 6, 24, 18], [30, 20, 40, 36]]
        assert found.masks.shape == (2, 40, 48) and found.masks.sum(axis=(1, 2)).tolist() == [20 * 12, 10 * 16]
        assert found.masks[0, 6:18, 4:24].all() and truth.record(f"{images}/7.png") is None
    assert f"coco annotations in {file}" not in MetadataCatalog.list()


def test_files_are_told_apart_by_their_folders(coco, tmp_path):
    file, change, _ = coco

    def edit(content):
        for place, image in enumerate(content["images"]):
            image["file_name"] = f"{place}/photo.png"

    change(edit)
    truth = GroundTruth.of_file(file)
    assert truth.record(tmp_path / "1/photo.png")["image_id"] == 1 and truth.record("photo.png") is None


def test_instances_without_masks_and_crowds(coco):
    file, change, images = coco

    def edit(content):
        del content["annotations"][0]["segmentation"]
        content["annotations"][1].update(iscrowd=1, segmentation={"size": [40, 48], "counts": [0, 40, 1880]})
        del content["annotations"][2]["segmentation"]

    change(edit)
    truth = GroundTruth.of_file(file)
    mixed = truth.instances(truth.record(f"{images}/0.png"), (40, 48))
    assert mixed.names == ["a", "b (crowd)"] and not mixed.masks[0].any() and mixed.masks[1].sum() == 40
    assert truth.instances(truth.record(f"{images}/1.png"), (40, 48)).masks is None


def test_images_without_annotations_have_no_instances(coco):
    file, change, images = coco
    change(lambda content: content["annotations"].pop())
    truth = GroundTruth.of_file(file)
    none = truth.instances(truth.record(f"{images}/1.png"), (40, 48))
    assert none.boxes.shape == (0, 4) and none.masks is None and none.names == []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("categories"), "cannot be read as annotations in COCO's format"),
        (lambda c: c["annotations"][0].update(category_id=9), "category_id=9"),
        (lambda c: c["images"][0].update(height=41), r"0.png has the size \(41, 48\); wanted that of the image, \(40,"),
        (
            lambda c: c["annotations"][0].update(segmentation={"size": [20, 48], "counts": [0, 960]}),
            r"has the size \(20, 48\)",
        ),
    ],
)
def test_annotations_that_do_not_fit(coco, edit, message):
    file, change, images = coco
    change(edit)
    with pytest.raises(ValueError, match=message):
        truth = GroundTruth.of_file(file)
        truth.instances(truth.record(f"{images}/0.png"), (40, 48))
    assert f"coco annotations in {file}" not in MetadataCatalog.list()
