import itertools
import logging
from collections import Counter

import pytest
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from tokenseg.data.sampling import sample_order
from tokenseg.data.stream import TrainLoader

EVERYTHING = dict(filter_empty=True, group_by_aspect_ratio=True, repeat_threshold=0.5)


def record(place, categories, *, wide=True, crowds=()):
    """A record in Detectron2's format, of an image that is never read."""
    annotations = [{"category_id": c, "iscrowd": 0} for c in categories]
    annotations += [{"category_id": c, "iscrowd": 1} for c in crowds]
    height, width = (30, 40) if wide else (40, 40)
    return {"file_name": __file__, "image_id": place, "height": height, "width": width, "annotations": annotations}


# Class 1 is in two of the nine images that have objects, class 0 in eight.
RECORDS = [
    *(record(place, [0, 0], wide=place % 3 > 0) for place in range(7)),
    record(7, []),
    record(8, [], crowds=[0]),
    record(9, [0, 1], crowds=[0]),
    record(10, [1], wide=False),
]


@pytest.fixture(autouse=True)
def boxes():
    DatasetCatalog.register("toy_boxes", lambda: RECORDS)
    yield
    DatasetCatalog.remove("toy_boxes")


def image_id(record):
    return {"id": record["image_id"]}


def batches(count, *, start=0, num_workers=0, **order):
    loader = TrainLoader(
        dataset="toy_boxes", mapper=image_id, total_batch_size=4, num_workers=num_workers, seed=5, **EVERYTHING | order
    )
    loader.start_iter = start
    return [[sample["id"] for sample in batch] for batch in itertools.islice(loader, count)]


def test_batches_are_of_one_aspect_ratio_and_of_images_with_objects():
    found = batches(30)
    assert all(len({RECORDS[place]["width"] > RECORDS[place]["height"] for place in batch}) == 1 for batch in found)
    assert {*itertools.chain(*found)} == {*range(7), 9, 10}


def test_workers_change_nothing():
    assert batches(9, num_workers=2) == batches(9)


def test_processes_share_the_same_batches(monkeypatch):
    wanted, parts = batches(9, start=7), []
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append(batches(9, start=7))
    assert [first + second for first, second in zip(*parts, strict=True)] == wanted


@pytest.mark.parametrize("start", [1, 6, 60])
def test_resuming_goes_on_where_it_ended(start):
    assert batches(8, start=start) == batches(start + 8)[start:]


def test_rare_classes_are_drawn_more_often():
    # f(0) = 8/9 and f(1) = 2/9: both images of class 1 are drawn sqrt(4/9 / (2/9)) = 1.41 times
    order = sample_order(RECORDS, seed=5, batch_size=4, filter_empty=True, repeat_threshold=4 / 9)
    assert order.length == 9  # 9.83 without the fraction
    order = sample_order(RECORDS, seed=5, batch_size=4, filter_empty=True, repeat_threshold=8 / 9)
    assert Counter(order[place] for place in range(11)) == {**dict.fromkeys(range(7), 1), 9: 2, 10: 2}


def test_the_log_counts_what_is_filtered_grouped_and_repeated(caplog):
    with caplog.at_level(logging.INFO):
        batches(1)
    assert "Removed 2 images with no usable annotations. 9 images left." in caplog.text
    assert "grouped by aspect ratio: 5 are wider than high, 4 are not" in caplog.text
    assert "2 of 9 images are drawn more than once per epoch on average, at most 1.50 times" in caplog.text


@pytest.mark.parametrize(
    ("records", "order", "message"),
    [
        (RECORDS[7:9], {"filter_empty": True}, "filter_empty removes all 2 images"),
        ([{"file_name": "a"}], {"filter_empty": True}, "record of a has no annotations.*wanted a data set for detec"),
        ([{"width": 3}], {"group_by_aspect_ratio": True}, "record of 0 has no height"),
        (RECORDS, {"repeat_threshold": 1.5}, "repeat_threshold is 1.5; wanted a number above 0"),
        (RECORDS, {"repeat_threshold": 0.0}, "repeat_threshold is 0.0; wanted a number above 0"),
    ],
)
def test_what_does_not_fit_is_told(records, order, message):
    with pytest.raises(ValueError, match=message):
        sample_order(records, seed=5, batch_size=4, **order)
