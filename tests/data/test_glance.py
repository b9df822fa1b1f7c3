import logging

import numpy as np
import pytest
from PIL import Image

from tokenseg.data.glance import warn_of_one_class


@pytest.fixture
def glance(tmp_path, caplog):
    """A function that returns the warning about label maps that hold the given ids."""

    def look(*label_maps, **extra):
        records = []
        for place, ids in enumerate(label_maps):
            path = str(tmp_path / f"{place}.png")
            Image.fromarray(np.resize(np.uint8(ids), (4, 6))).save(path)
            records.append({"file_name": "a.png", "sem_seg_file_name": path, **extra})
        with caplog.at_level(logging.WARNING, "tokenseg"):
            warn_of_one_class("coins", records, ignore_label=255)
        return caplog.text

    return look


def test_masks_of_0_and_255(glance):
    told = glance([0, 255], [0])
    assert "Data set coins: the 2 label maps that were sampled contain only class 0 and ignored pixels" in told
    assert "'dataset.id_map={0: 0, 255: 1}'" in told


def test_all_ignored(glance):
    told = glance([255], [255])
    assert "are ignored completely, so a model" in told and "id_map" not in told


def test_an_id_map_makes_classes(glance):
    assert glance([0, 255], sem_seg_id_map={0: 0, 255: 1}) == ""
    assert "id_map" not in glance([0, 255], sem_seg_id_map={0: 0, 255: 255})


def test_two_classes_are_enough(glance):
    assert glance([0], [3]) == ""
    assert glance(*[[0]] * 31, [0, 3]) != ""  # the last one is not in the sample


def test_a_damaged_label_map_is_left_to_its_reader(glance, tmp_path, caplog):
    (tmp_path / "bad.png").write_bytes(b"no image")
    warn_of_one_class("coins", [{"sem_seg_file_name": str(tmp_path / "bad.png")}], ignore_label=255)
    warn_of_one_class("boxes", [{"file_name": "a.png"}], ignore_label=255)
    assert caplog.text == ""
