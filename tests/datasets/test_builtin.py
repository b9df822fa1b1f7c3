"""The registered data sets: their names, their numbers of classes, and the folders of their files."""

from pathlib import Path

import pytest
from detectron2.config import LazyConfig
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from tokenseg.datasets.class_names import COCO_STUFF_10K, PASCAL_CONTEXT_59

FOLDER = Path(__file__).resolve().parents[2] / "configs/common/data"
CONFIGS = ["ade20k", "cityscapes", "coco_stuff_10k", "pascal_context_59", "pascal_context_60", "shapes"]

REGISTERED = {
    "coco_stuff_10k_sem_seg_train": ("coco_stuff_10k/images/train", "coco_stuff_10k/annotations/train", 171),
    "coco_stuff_10k_sem_seg_test": ("coco_stuff_10k/images/test", "coco_stuff_10k/annotations/test", 171),
    "pascal_context_59_sem_seg_train": ("pascal_context/images/train", "pascal_context/annotations_59/train", 59),
    "pascal_context_59_sem_seg_val": ("pascal_context/images/val", "pascal_context/annotations_59/val", 59),
    "pascal_context_60_sem_seg_train": ("pascal_context/images/train", "pascal_context/annotations_60/train", 60),
    "pascal_context_60_sem_seg_val": ("pascal_context/images/val", "pascal_context/annotations_60/val", 60),
}


@pytest.mark.parametrize("name", REGISTERED)
def test_metadata(name):
    images, labels, count = REGISTERED[name]
    metadata = MetadataCatalog.get(name)
    assert name in DatasetCatalog.list()
    assert metadata.image_root.endswith(images) and metadata.sem_seg_root.endswith(labels)
    assert (metadata.evaluator_type, metadata.ignore_label) == ("sem_seg", 255)
    assert len(set(metadata.stuff_classes)) == len(metadata.stuff_classes) == count
    assert len({tuple(color) for color in metadata.stuff_colors}) == len(metadata.stuff_colors) == count


def test_coco_stuff_has_the_things_of_coco_and_then_the_stuff():
    things = {kind["id"]: kind["name"] for kind in COCO_CATEGORIES if kind["isthing"]}
    assert dict(list(COCO_STUFF_10K.items())[:80]) == things
    assert list(COCO_STUFF_10K)[80:] == list(range(92, 183))
    stuff = list(COCO_STUFF_10K.values())[80:]
    assert stuff == sorted(stuff) and (stuff[0], stuff[-1]) == ("banner", "wood")
    assert set(range(1, 183)) - set(COCO_STUFF_10K) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}


def test_pascal_context_is_in_the_order_of_its_459_labels():
    assert list(PASCAL_CONTEXT_59) == sorted(PASCAL_CONTEXT_59)
    assert list(PASCAL_CONTEXT_59.values()) == sorted(PASCAL_CONTEXT_59.values())
    assert max(PASCAL_CONTEXT_59) < 460
    with_background = MetadataCatalog.get("pascal_context_60_sem_seg_val").stuff_classes
    assert with_background == ["background", *MetadataCatalog.get("pascal_context_59_sem_seg_val").stuff_classes]


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_name_registered_data_sets_with_their_classes(name):
    dataset = LazyConfig.load(str(FOLDER / f"{name}.py")).dataset
    assert dataset.train in DatasetCatalog.list()
    for registered in (dataset.train, dataset.test):
        assert len(MetadataCatalog.get(registered).stuff_classes) == dataset.num_classes


@pytest.mark.parametrize("count", [59, 60])
def test_pascal_context_is_tested_at_another_size(count):
    dataloader = LazyConfig.load(str(FOLDER / f"pascal_context_{count}.py")).dataloader
    train, test = dataloader.train.mapper.augmentations[0], dataloader.test.mapper.augmentations[0]
    assert (train.short, train.long, tuple(train.ratio_range)) == (520, 520, (0.5, 2.0))
    assert (test.short, test.long, "ratio_range" in test) == (520, None, False)


@pytest.mark.parametrize("count", [10, 50])
def test_parts_of_the_generated_instances_are_their_first_images(monkeypatch, count):
    known = DatasetCatalog.data | {"shapes_instance_train": lambda: list(range(100))}
    monkeypatch.setattr(DatasetCatalog, "data", known)
    assert DatasetCatalog.get(f"shapes_instance_train_{count}") == list(range(count))
    classes = MetadataCatalog.get("shapes_instance_train").thing_classes
    assert MetadataCatalog.get(f"shapes_instance_train_{count}").thing_classes == classes
