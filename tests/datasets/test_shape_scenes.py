import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from tokenseg.datasets import shape_scenes
from tokenseg.datasets.shape_scenes import CLASSES, IGNORE_LABEL, STUFF, THINGS, draw_scene, writer

SMALL = {"num_train": 3, "num_val": 2}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(seed=0, split="train", index=index) for index in range(120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shape_scenes.write(tmp_path_factory.mktemp("data"), **SMALL)


def test_same_bytes_every_time(folder, tmp_path):
    assert _files(shape_scenes.write(tmp_path, **SMALL)) == _files(folder)


def test_files_hold_what_is_drawn(folder):
    scene = draw_scene(seed=0, split="val", index=1)
    image, label = (
        cv2.imread(str(folder / kind / "val" / "000001.png"), cv2.IMREAD_UNCHANGED)
        for kind in ("images", "annotations")
    )
    assert np.array_equal(image[..., ::-1], scene.image)
    assert np.array_equal(label, scene.label)


def test_an_image_depends_on_seed_split_and_index_only(scenes):
    again = draw_scene(seed=0, split="train", index=7)
    assert np.array_equal(again.image, scenes[7].image)
    assert np.array_equal(again.label, scenes[7].label)
    others = [{"seed": 1}, {"split": "val"}, {"index": 8}]
    for other in others:
        changed = draw_scene(**{"seed": 0, "split": "train", "index": 7, **other})
        assert not np.array_equal(changed.image, again.image)


def test_labels_name_classes_or_ignore_and_every_class_occurs(scenes):
    found = set(np.unique(np.concatenate([scene.label.ravel() for scene in scenes])))
    assert found == {*range(len(CLASSES)), IGNORE_LABEL}


def test_ignored_pixels_are_those_next_to_another_instance(scenes):
    for scene in scenes[:5]:
        seen = np.pad(scene.instances, 1, mode="edge")
        middle = seen[1:-1, 1:-1]
        beside = [seen[:-2, 1:-1], seen[2:, 1:-1], seen[1:-1, :-2], seen[1:-1, 2:]]
        border = np.any([neighbour != middle for neighbour in beside], axis=0)
        assert np.array_equal(scene.label == IGNORE_LABEL, border)


def test_sizes_vary_and_scale():
    shapes = np.array([draw_scene(seed=0, split="val", index=i, size=256).image.shape[:2] for i in range(12)])
    assert 176 <= shapes.min() < 224
    assert 272 < shapes.max() <= 320
    assert (shapes[:, 0] != shapes[:, 1]).any()


def test_size_and_color_do_not_tell_the_things_apart(scenes):
    areas, colors = ({place: [] for place in range(len(THINGS))} for _ in range(2))
    for scene in scenes:
        for number, place in enumerate(scene.thing_classes, start=1):
            seen = scene.instances == number
            areas[place].append(seen.sum())
            colors[place].append(scene.image[seen].mean(axis=0))
    mean_areas = np.array([np.mean(values) for values in areas.values()])
    mean_colors = np.array([np.mean(values, axis=0) for values in colors.values()])
    assert np.all(np.abs(mean_areas / mean_areas.mean() - 1) < 0.15)
    assert np.all(np.abs(mean_colors - mean_colors.mean(axis=0)) < 15)


def test_every_stuff_class_occurs_above_and_below(scenes):
    stuff = range(len(THINGS), len(CLASSES))
    assert {scene.label[0, 0] for scene in scenes} >= set(stuff)
    assert {scene.label[-1, 0] for scene in scenes} >= set(stuff)
    assert len(stuff) == len(STUFF)


def test_coco_instances_agree_with_the_label_maps(folder):
    coco = COCO(str(folder / "instances_train.json"))
    assert [kind["name"] for kind in coco.loadCats(coco.getCatIds())] == [thing.name for thing in THINGS]
    assert len(coco.imgs) == SMALL["num_train"]
    for image in coco.imgs.values():
        label = cv2.imread(str(folder / "annotations" / "train" / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert label.shape == (image["height"], image["width"])
        assert label.dtype == np.uint8
        from_masks = np.full(label.shape, IGNORE_LABEL)
        for annotation in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(annotation).astype(bool)
            x, y, width, height = (int(length) for length in annotation["bbox"])
            assert mask.sum() == mask[y : y + height, x : x + width].sum() == annotation["area"]
            assert np.all(from_masks[mask] == IGNORE_LABEL), "masks of the visible parts do not overlap"
            from_masks[mask] = annotation["category_id"] - 1
        seen = label != IGNORE_LABEL
        assert np.array_equal(np.where(label < len(THINGS), label, IGNORE_LABEL)[seen], from_masks[seen])


def test_a_second_write_keeps_the_files(folder, caplog):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with caplog.at_level(logging.INFO):
        assert shape_scenes.write(folder.parent, **SMALL) == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert not caplog.records


def test_other_settings_are_refused(folder):
    with pytest.raises(ValueError, match=r"num_train: got 3, wanted 1000.*Remove that folder"):
        shape_scenes.ensure(folder.parent)


def test_a_folder_without_meta_is_refused(tmp_path):
    (tmp_path / shape_scenes.BASIC.folder / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match="version: got None"):
        shape_scenes.ensure(tmp_path)


def test_an_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*, index, **settings):
        if index == 1:
            assert not (tmp_path / shape_scenes.BASIC.folder).exists(), (
                "what a process killed without notice would leave"
            )
            raise KeyboardInterrupt
        return draw_scene(index=index, **settings)

    monkeypatch.setattr(writer, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shape_scenes.write(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_processes_uses_the_other_s_files(folder, tmp_path, monkeypatch):
    def overtaken(**settings):
        if not (tmp_path / shape_scenes.BASIC.folder).exists():
            winner = shutil.copytree(folder, tmp_path / shape_scenes.BASIC.folder)
            (winner / "winner").touch()
        return draw_scene(**settings)

    monkeypatch.setattr(writer, "draw_scene", overtaken)
    assert (shape_scenes.write(tmp_path, **SMALL) / "winner").exists()
    assert [path.name for path in tmp_path.iterdir()] == [shape_scenes.BASIC.folder]


@pytest.mark.parametrize(("wrong", "message"), [({"split": "test"}, "got 'test'"), ({"size": 32}, "got 32")])
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_scene(**{"seed": 0, "split": "train", "index": 0, **wrong})
