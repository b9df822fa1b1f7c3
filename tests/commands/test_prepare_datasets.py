"""The commands of prepare_datasets with small archives whose layouts are exactly those of the official ones."""

import importlib
import io
import json
import logging
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import builtin, load_coco_json
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from PIL import Image
from scipy.io import savemat

from tokenseg.archives import prepare, rules
from tokenseg.data.labels import read_label
from tokenseg.datasets import builtin as datasets

HEIGHT, WIDTH = 2, 3


def image(end="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, end)
    return file.getvalue()


def png(*ids):
    """Return a label map of 2x3 pixels as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.array(ids, dtype=np.uint8).reshape(HEIGHT, WIDTH)).save(file, "PNG")
    return file.getvalue()


def mat(variable, *ids, dtype=np.uint16):
    file = io.BytesIO()
    savemat(file, {variable: np.array(ids, dtype=dtype).reshape(HEIGHT, WIDTH), "names": ["one", "two"]})
    return file.getvalue()


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            archive.writestr(f"{folder}/", "")
        for name, content in files.items():
            archive.writestr(name, content)


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def ade20k(folder):
    files = {"objectInfo150.txt": b"Idx", "sceneCategories.txt": b"ADE_train_00000001 bathroom"}
    for split, short, count in (("training", "train", 2), ("validation", "val", 1)):
        for number in range(1, count + 1):
            files[f"images/{split}/ADE_{short}_{number:08d}.jpg"] = image()
            files[f"annotations/{split}/ADE_{short}_{number:08d}.png"] = png(0, 1, 2, 149, 150, 0)
    write_zip(folder / "ADEChallengeData2016.zip", {f"ADEChallengeData2016/{name}": files[name] for name in files})
    return {"training": 2, "validation": 1}


def cityscapes(folder):
    images, labels = ({"README": b"Cityscapes", "license.txt": b"terms"} for _ in range(2))
    for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "berlin")):
        stem = f"{split}/{city}/{city}_000000_000019"
        images[f"leftImg8bit/{stem}_leftImg8bit.png"] = image("PNG")
        labels[f"gtFine/{stem}_gtFine_labelIds.png"] = png(0, 7, 8, 33, 29, 31)
        labels[f"gtFine/{stem}_gtFine_instanceIds.png"] = png(0, 7, 8, 33, 29, 31)
        labels[f"gtFine/{stem}_gtFine_color.png"] = image("PNG")
        polygons = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": []}
        labels[f"gtFine/{stem}_gtFine_polygons.json"] = json.dumps(polygons).encode()
    write_zip(folder / "leftImg8bit_trainvaltest.zip", images)
    write_zip(folder / "gtFine_trainvaltest.zip", labels)
    kinds = ("", ", label ids", ", instances", ", polygons")
    return {f"{split}{kind}": 1 for split in ("train", "val", "test") for kind in kinds}


def coco_stuff_10k(folder, unused=92):
    names = {"train": ["COCO_train2014_000000000077", "COCO_train2014_000000000113"]}
    names["test"] = ["COCO_train2014_000000000127"]
    both = names["train"] + names["test"]
    files = {f"imageLists/{split}.txt": "\n".join(names[split]).encode() for split in names}
    files["imageLists/all.txt"] = "\n".join(both).encode()
    files |= {f"images/{name}.jpg": image() for name in both}
    files |= {f"annotations/{name}.mat": mat("S", 0, 1, 13, 90, unused, 182, dtype=float) for name in both}
    write_zip(folder / "cocostuff-10k-v1.1.zip", files)
    return {"train": 2, "test": 1}


def pascal_context(folder, table="table"):
    lists = {"train": ["2008_000002", "2008_000003"], "val": ["2008_000007"]}
    names = lists["train"] + lists["val"]
    voc = {f"Annotations/{name}.xml": b"<annotation/>" for name in [*names, "2007_000027"]}
    voc |= {f"JPEGImages/{name}.jpg": image() for name in [*names, "2007_000027"]}
    voc |= {f"ImageSets/Main/{split}.txt": ("\n".join(lists[split]) + "\n").encode() for split in lists}
    voc |= {"ImageSets/Main/cat_train.txt": b"2008_000002 -1\n", "ImageSets/Segmentation/train.txt": b"2007_000027\n"}
    write_tar(folder / "VOCtrainval_03-May-2010.tar", {f"VOCdevkit/VOC2010/{name}": voc[name] for name in voc})
    known = datasets.PASCAL_CONTEXT_59 | {397: table}
    listed = "\n".join(f"{number}: {known.get(number, 'accordion')}" for number in range(1, 460))
    labels = {f"trainval/{name}.mat": mat("LabelMap", 2, 9, 458, 1, 459, 0) for name in names}
    write_tar(folder / "trainval.tar.gz", {"labels.txt": listed.encode(), **labels}, "w:gz")
    return {"train": 2, "val": 1}


def coco(folder):
    for split in ("train", "val"):
        write_zip(folder / f"{split}2017.zip", {f"{split}2017/000000000009.jpg": image()})
    content = {"images": [{"id": 9, "file_name": "000000000009.jpg", "height": HEIGHT, "width": WIDTH}]}
    content |= {"annotations": [], "categories": []}
    kinds = [
        f"{kind}_{split}2017" for kind in ("instances", "person_keypoints", "captions") for split in ("train", "val")
    ]
    write_zip(
        folder / "annotations_trainval2017.zip", {f"annotations/{kind}.json": json.dumps(content) for kind in kinds}
    )
    return {"train2017": 1, "val2017": 1}


ALL = {"ade20k": ade20k, "cityscapes": cityscapes, "coco_stuff_10k": coco_stuff_10k}
ALL |= {"pascal_context": pascal_context, "coco": coco}
MODULES = {name: importlib.import_module(f"tokenseg.commands.prepare_datasets.{name}") for name in ALL}


@pytest.fixture
def build(tmp_path):
    """A function that creates the small archives of a data set, given its name, and prepares it in tmp_path/root."""

    def run(name, *, places=None, counts=None, **archives):
        (tmp_path / name).mkdir(exist_ok=True)
        small = ALL[name](tmp_path / name, **archives) if places is None else {}
        preparation = MODULES[name].PREPARATION
        return prepare(
            preparation, places=places or [tmp_path / name], root=tmp_path / "root", counts={**small, **(counts or {})}
        )

    return run


@pytest.fixture
def catalogs(monkeypatch):
    """Empty catalogues, so that data sets can be registered again with another root."""
    fresh = type(DatasetCatalog)()
    for module in (datasets, builtin):
        monkeypatch.setattr(module, "DatasetCatalog", fresh)
        monkeypatch.setattr(module, "MetadataCatalog", type(MetadataCatalog)())
    return fresh


def labels(records):
    return [read_label(record["sem_seg_file_name"]).ravel().tolist() for record in records]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_ade20k(build, catalogs, tmp_path):
    folder = build("ade20k")
    builtin.register_all_ade20k(str(tmp_path / "root"))
    assert labels(catalogs.get("ade20k_sem_seg_train")) == [[255, 0, 1, 148, 149, 255]] * 2
    assert labels(catalogs.get("ade20k_sem_seg_val")) == [[255, 0, 1, 148, 149, 255]]
    assert (folder / "objectInfo150.txt").is_file()
    assert read_label(folder / "annotations/validation/ADE_val_00000001.png").max() == 150


def test_cityscapes(build, catalogs, tmp_path):
    build("cityscapes")
    builtin.register_all_cityscapes(str(tmp_path / "root"))
    for split in ("train", "val", "test"):
        records = catalogs.get(f"cityscapes_fine_sem_seg_{split}")
        assert labels(records) == [[255, 0, 1, 18, 255, 16]]
        assert (records[0]["height"], records[0]["width"]) == (HEIGHT, WIDTH)


def test_cityscapes_ids_are_those_of_detectron2():
    known = {kind["id"]: kind["trainId"] for kind in CITYSCAPES_CATEGORIES}
    ids = MODULES["cityscapes"].IDS
    assert {number: place for number, place in ids.items() if place != 255} == known
    assert sorted(ids) == list(range(34))


def test_coco_stuff_10k(build, catalogs, tmp_path):
    build("coco_stuff_10k")
    datasets.register_coco_stuff_10k(tmp_path / "root")
    assert labels(catalogs.get("coco_stuff_10k_sem_seg_train")) == [[255, 0, 11, 79, 80, 170]] * 2
    assert labels(catalogs.get("coco_stuff_10k_sem_seg_test")) == [[255, 0, 11, 79, 80, 170]]


def test_pascal_context(build, catalogs, tmp_path):
    build("pascal_context")
    datasets.register_pascal_context(tmp_path / "root")
    for split, count in (("train", 2), ("val", 1)):
        assert labels(catalogs.get(f"pascal_context_59_sem_seg_{split}")) == [[0, 1, 58, 255, 255, 255]] * count
        assert labels(catalogs.get(f"pascal_context_60_sem_seg_{split}")) == [[1, 2, 59, 0, 0, 0]] * count


def test_coco(build, tmp_path):
    folder = build("coco")
    annotations = folder / "annotations/instances_val2017.json"
    record = load_coco_json(str(annotations), str(folder / "val2017"))[0]
    assert os.path.isfile(record["file_name"])
    assert len(files(folder / "annotations")) == 6


@pytest.mark.parametrize("name", ALL)
def test_published_counts_are_asked_for(name):
    published = {split.name: split.count for split in MODULES[name].PREPARATION.splits}
    expected = {
        "ade20k": {"training": 20210, "validation": 2000},
        "cityscapes": {"train": 2975, "val": 500, "test": 1525},
        "coco_stuff_10k": {"train": 9000, "test": 1000},
        "pascal_context": {"train": 4998, "val": 5105},
        "coco": {"train2017": 118287, "val2017": 5000},
    }
    assert expected[name].items() <= published.items()


@pytest.mark.parametrize("name", ALL)
def test_an_unpacked_copy_gives_the_same(name, build, tmp_path):
    folder = build(name)
    written = files(folder)
    shutil.rmtree(folder)
    unpacked = tmp_path / "unpacked"
    for archive in (tmp_path / name).iterdir():
        shutil.unpack_archive(archive, unpacked)
        archive.unlink()
    shutil.move(unpacked, tmp_path / name)
    assert files(build(name, places=[tmp_path / name / "unpacked"], counts=ALL[name](tmp_path))) == written


def test_wrong_counts_leave_nothing(build, tmp_path):
    with pytest.raises(ValueError, match=r"images/training: 2 files \(\*\.jpg\), wanted 3"):
        build("ade20k", counts={"training": 3})
    assert list((tmp_path / "root").iterdir()) == []


def test_label_maps_without_image_are_refused(build, tmp_path):
    build("ade20k", counts={"training": None})
    archive, names = tmp_path / "ade20k/ADEChallengeData2016.zip", {}
    with zipfile.ZipFile(archive) as file:
        names = {name: file.read(name) for name in file.namelist() if not name.endswith("/")}
    names["ADEChallengeData2016/images/training/other.jpg"] = names.pop(
        "ADEChallengeData2016/images/training/ADE_train_00000001.jpg"
    )
    write_zip(archive, names)
    shutil.rmtree(tmp_path / "root")
    with pytest.raises(ValueError, match="have no counterpart, such as ADE_train_00000001 in annotations/training"):
        build("ade20k", places=[archive], counts={"training": None, "validation": None})


def test_missing_archive_is_named_with_its_page(build, tmp_path):
    (tmp_path / "other.zip").write_bytes(b"")
    cityscapes(tmp_path)
    (tmp_path / "gtFine_trainvaltest.zip").unlink()
    with pytest.raises(ValueError) as error:
        build("cityscapes", places=[tmp_path])
    message = str(error.value)
    assert "gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com/downloads" in message
    assert "leftImg8bit_trainvaltest.zip from" not in message
    assert f"{tmp_path}: cityscapes, leftImg8bit_trainvaltest.zip, other.zip" in message


def test_a_place_that_is_not_there(build, tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        build("coco", places=[tmp_path / "nowhere"])


@pytest.mark.parametrize("name", ["ADEChallengeData2016.zip", "trainval.tar.gz"])
def test_damaged_archive(name, build, tmp_path):
    data = {"A": "ade20k", "t": "pascal_context"}[name[0]]
    (tmp_path / data).mkdir()
    counts = ALL[data](tmp_path / data)
    archive = tmp_path / data / name
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"{name} cannot be read .* may be incomplete"):
        build(data, places=[tmp_path / data], counts=counts)
    assert list((tmp_path / "root").iterdir()) == []


def test_another_archive_of_that_name(build, tmp_path):
    write_zip(tmp_path / "ADEChallengeData2016.zip", {"full/index.txt": b""})
    with pytest.raises(
        ValueError, match=r"has full/index\.txt, but no ADEChallengeData2016/images/training .*; wanted"
    ):
        build("ade20k", places=[tmp_path])


def test_ids_that_the_data_set_does_not_have(build):
    with pytest.raises(ValueError, match=r"annotations/COCO_train2014_000000000077\.mat holds the ids 12,"):
        build("coco_stuff_10k", unused=12)


def test_names_that_contradict_the_table(build):
    with pytest.raises(ValueError, match=r"labels\.txt does not name the classes as expected: 397 is desk"):
        build("pascal_context", table="desk")


def test_killed_midway_leaves_nothing_that_looks_complete(build, tmp_path, monkeypatch):
    write, calls = rules._write, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(rules, "_write", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if the process were killed before it can clean up
    with pytest.raises(KeyboardInterrupt):
        build("ade20k")
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".ADEChallengeData2016.unfinished"]
    monkeypatch.undo()
    build("ade20k")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["ADEChallengeData2016"]


def test_second_run_does_nothing(build, tmp_path, caplog):
    folder = build("ade20k")
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    shutil.rmtree(tmp_path / "ade20k")
    with caplog.at_level(logging.INFO):
        build("ade20k", places=[tmp_path / "gone"], counts={"training": 2, "validation": 1})
    assert "is complete: 2 in images/training" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_a_copy_in_its_place_gets_what_it_lacks_and_loses_nothing(build, tmp_path):
    counts = ade20k(tmp_path)
    shutil.unpack_archive(tmp_path / "ADEChallengeData2016.zip", tmp_path / "root")
    own = tmp_path / "root/ADEChallengeData2016/images/notes.txt"
    own.write_text("mine")
    folder = build("ade20k", places=[tmp_path / "root"], counts=counts)
    assert len(files(folder / "annotations_detectron2")) == 3
    assert own.read_text() == "mine" and len(files(folder / "images")) == 4


def test_command_line(tmp_path, command, caplog):
    ade20k(tmp_path)
    words = ["prepare_datasets.ade20k", "--archives", tmp_path, "--root", tmp_path / "root"]
    with pytest.raises(ValueError, match=r"images/training: 2 files \(\*\.jpg\), wanted 20210"):
        command(*words)
    command(*words, "--any-count")
    assert "WARNING: the number of images is not checked" in caplog.text
    assert (tmp_path / "root/ADEChallengeData2016").is_dir()
