import itertools
import logging
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from tokenseg.data.mapper import SemSegMapper
from tokenseg.data.stream import TrainLoader, build_test_loader
from tokenseg.datasets.records import load_records


def draw(record):
    """A mapper that draws random numbers from the generators of Python, NumPy and torch."""
    return {"drawn": (record["file_name"], random.random(), np.random.rand(), torch.rand(()).item())}


def batches(count, *, start=0, **changes):
    loader = TrainLoader(
        **{"dataset": "toy_sem_seg", "mapper": draw, "total_batch_size": 4, "num_workers": 0, "seed": 5, **changes}
    )
    loader.start_iter = start
    return list(itertools.islice(loader, count))


@pytest.fixture
def processes(monkeypatch):
    def pretend(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return pretend


def test_the_stream_depends_on_seed_and_position_alone(toy_dataset):
    wanted = batches(4)
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    assert batches(4) == wanted
    assert batches(4, seed=6) != wanted
    samples = [sample for batch in wanted for sample in batch]
    assert len({sample["drawn"] for sample in samples}) == len({sample["seed"] for sample in samples}) == 16


def test_workers_change_nothing(toy_dataset):
    assert batches(4, num_workers=2) == batches(4)


def test_processes_share_the_same_batches(toy_dataset, processes):
    wanted = batches(3, start=2, total_batch_size=8)
    parts = []
    for rank in range(2):
        processes(rank, 2)
        parts.append(batches(3, start=2, total_batch_size=8))
    assert [first + second for first, second in zip(*parts, strict=True)] == wanted


def test_resuming_goes_on_where_it_ended(toy_dataset):
    assert batches(3, start=4) == batches(7)[4:]


def test_every_image_once_an_epoch(toy_dataset):
    names = [sample["drawn"][0] for batch in batches(6) for sample in batch]
    epochs = [names[start : start + 6] for start in range(0, 24, 6)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # in another order each time


def test_generators_outside_stay_as_they_were(toy_dataset, monkeypatch):
    stream = TrainLoader(dataset=toy_dataset, mapper=draw, total_batch_size=1, num_workers=0, seed=0).stream
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPUs' generators were seeded"))
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    stream[3]
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1]) and torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize(("size", "world_size"), [(0, 1), (-4, 1), (3, 2)])
def test_uneven_batches_are_refused(toy_dataset, processes, size, world_size):
    processes(0, world_size)
    with pytest.raises(ValueError, match=f"is {size}; wanted a positive multiple .* {world_size}$"):
        batches(1, total_batch_size=size)


def test_negative_seeds_are_refused(toy_dataset):
    with pytest.raises(ValueError, match="is -1; wanted 0 or more"):
        batches(1, seed=-1)


def test_several_data_sets_are_joined(toy_dataset):
    one, two = load_records(toy_dataset), load_records([toy_dataset, toy_dataset])
    assert list(two) == 2 * list(one) == 2 * DatasetCatalog.get(toy_dataset) and len(two) == 12
    assert two[-1] == one[5] and two[4:8] == [one[4], one[5], one[0], one[1]]
    with pytest.raises(IndexError):
        two[12]


def test_a_data_set_is_read_once_and_its_records_are_packed(toy_dataset, monkeypatch):
    first = load_records(toy_dataset)
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: pytest.fail("read again"))
    record = load_records(toy_dataset)[0]
    record["file_name"] = "changed"
    assert first[0]["file_name"].endswith("0.png")


def test_another_data_set_of_the_same_name_is_read_anew(toy_dataset):
    load_records(toy_dataset)
    DatasetCatalog.remove(toy_dataset)
    DatasetCatalog.register(toy_dataset, lambda: [{"file_name": __file__}])
    assert list(load_records(toy_dataset)) == [{"file_name": __file__}]


def test_things_are_named_too(toy_dataset, caplog):
    MetadataCatalog.remove(toy_dataset)
    MetadataCatalog.get(toy_dataset).set(thing_classes=["car", "dog"])
    with caplog.at_level(logging.INFO, "tokenseg"):
        load_records(toy_dataset)
    assert "6 images, 2 classes (car, dog)" in caplog.text


@pytest.mark.parametrize("names", [[], ()])
def test_no_data_set(names):
    with pytest.raises(ValueError, match="no data set is named"):
        load_records(names)


def test_unknown_data_sets_are_told():
    with pytest.raises(ValueError, match=r"'nonesuch' is not registered; registered are .*shapes_sem_seg_train"):
        load_records("nonesuch")
    with pytest.raises(ValueError, match=r"registered are .*; nearest: shapes_sem_seg_train"):
        load_records("shape_sem_seg_train")


def test_missing_folders_are_told(toy_dataset, tmp_path):
    shutil.rmtree(tmp_path / "toy/labels")
    with pytest.raises(ValueError, match=r"'toy_sem_seg' cannot be read from .*images: .*DETECTRON2_DATASETS"):
        load_records(toy_dataset)


def _no_annotations():
    raise AssertionError("No annotations found")  # as Detectron2 does for an empty folder


def _unknown_category():
    raise KeyError("category_id=9")  # as Detectron2 does for an unknown category


@pytest.mark.parametrize("records", [list, _no_annotations, _unknown_category])
def test_empty_data_sets_are_told(records):
    DatasetCatalog.register("toy_missing", records)
    MetadataCatalog.get("toy_missing").set(image_root="images/of/toy")
    try:
        with pytest.raises(ValueError, match=r"'toy_missing' cannot be read from images/of/toy: .*DETECTRON2_DATASETS"):
            load_records("toy_missing")
    finally:
        DatasetCatalog.remove("toy_missing")
        MetadataCatalog.remove("toy_missing")


@pytest.mark.parametrize("world_size", [1, 4])
def test_evaluation_sees_every_image_once(toy_dataset, processes, world_size):
    seen = Counter()
    for rank in range(world_size):
        processes(rank, world_size)
        loader = build_test_loader(dataset=toy_dataset, mapper=draw, num_workers=0, batch_size=2)
        seen.update(sample["drawn"][0] for batch in loader for sample in batch)
    assert sorted(seen) == sorted(record["file_name"] for record in load_records(toy_dataset))
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("file", ["images/0.png", "labels/0.png"])
def test_a_damaged_test_set_shows_when_its_loader_is_built(toy_dataset, file):
    path = Path(MetadataCatalog.get(toy_dataset).image_root).parent / file
    path.write_bytes(path.read_bytes()[:40])
    mapper = SemSegMapper(is_train=False, augmentations=[], num_classes=3)
    with pytest.raises(ValueError, match=rf"{file} cannot be read"):
        build_test_loader(dataset=toy_dataset, mapper=mapper, num_workers=0)


def test_labels_out_of_range_show_when_the_test_loader_is_built(toy_dataset):
    mapper = SemSegMapper(is_train=False, augmentations=[], num_classes=2)
    with pytest.raises(ValueError, match=r"labels/0\.png holds the ids 2; wanted 0 to 1"):
        build_test_loader(dataset=toy_dataset, mapper=mapper, num_workers=0)
