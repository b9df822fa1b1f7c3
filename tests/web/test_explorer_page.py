"""The page of demo.py --web in a browser."""

import re
import socket
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from evaluated_run import HOSTILE
from tokenseg import Predictor
from tokenseg.commands.demo_web import started
from watched_page import PHONE, SMALL_PHONE

NAMES = [HOSTILE, "<img src=x onerror=alert(1)>", "**sky**"]
PANELS = ".grid-container button"


@pytest.fixture
def connections(monkeypatch):
    """The addresses to which this process connects."""
    seen, connect = [], socket.socket.connect

    def watch(own, address):
        seen.append(address[0] if isinstance(address, tuple) else address)
        return connect(own, address)

    monkeypatch.setattr(socket.socket, "connect", watch)
    return seen


@pytest.fixture
def segmentor(toy_predictor, toy_dataset):
    MetadataCatalog.get(toy_dataset).stuff_classes[:] = NAMES
    return Predictor(*toy_predictor)


def upload(page, path):
    page.wait_for_selector("input[type=file]", state="attached")
    page.set_input_files("input[type=file]", str(path))


def click_at(page, place):
    """Click a place of the picture, given as shares of its width and height."""
    box = page.locator("#picture img").bounding_box()
    page.locator("#picture img").click(position={"x": place[0] * box["width"], "y": place[1] * box["height"]})


def chosen(page):
    return page.locator("#choice input").input_value()


def test_a_segmentor_is_explored(segmentor, watched, connections, tmp_path):
    image, page = tmp_path / "toy/images/4.png", watched.page
    ids = segmentor(image)
    with started(segmentor) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        page.goto(address)
        upload(page, image)
        page.wait_for_selector("#picture img")
        for x, y in [(0.1, 0.5), (0.9, 0.5)]:
            click_at(page, (x, y))
            wanted = NAMES[ids[int(y * 32), int(x * 64)]]
            page.wait_for_function(
                "wanted => document.querySelector('#choice input').value.startsWith(wanted)", arg=wanted
            )
            page.wait_for_selector(PANELS)
            assert wanted in page.locator(PANELS).first.inner_text()  # as text
        page.locator("#choice input").click()
        assert page.get_by_role("option").count() == 3
        page.get_by_role("option").nth(2).click()
        page.wait_for_function("() => document.querySelector('#note').innerText.includes('No regions of tokens')")
        assert not watched.overflows(PHONE) and not watched.overflows(SMALL_PHONE)
        assert watched.foreign(address) == []
    assert set(connections) <= {"127.0.0.1", "localhost", "::1"}


def test_what_cannot_be_read_is_told_and_the_page_goes_on(segmentor, watched, tmp_path):
    page, hostile = watched.page, tmp_path / "<img src=x onerror=alert(3)>.png"
    hostile.write_bytes(b"no image")
    Image.new("I;16", (9, 9)).save(tmp_path / "deep.png")
    large = tmp_path / "<img src=x onerror=alert(4)>.png"
    large.write_bytes(bytes(21 << 20))
    with started(segmentor) as address:
        page.goto(address)
        for path, message in [
            (hostile, "cannot be read"),
            (tmp_path / "deep.png", "wanted 8 bits per channel"),
            (large, "exceed the maximum allowed size of 20"),
        ]:
            upload(page, path)
            page.get_by_text(message).first.wait_for()
            page.reload()
        upload(page, tmp_path / "toy/images/4.png")
        page.wait_for_selector("#picture img")
        assert str(tmp_path) not in page.content()


def test_a_detector_is_explored(toy_detector, toy_instances, watched, tmp_path):
    predictor, page = Predictor(*toy_detector), watched.page
    image = tmp_path / "instances/0.png"
    found = predictor(image, confidence_threshold=0.2)
    row, column = np.argwhere(found.pred_masks[0].numpy())[0]
    with started(predictor, confidence_threshold=0.2) as address:
        page.goto(address)
        upload(page, image)
        page.wait_for_selector("#picture img")
        click_at(page, ((column + 0.5) / 48, (row + 0.5) / 40))
        page.wait_for_selector(PANELS)
        assert re.fullmatch(r"\d+: [ab] 0\.\d\d", chosen(page))
        captions = page.locator(PANELS).all_inner_texts()
        assert len(captions) == 7 and all(re.search(r"token \d+: \d+ %", caption) for caption in captions[1:])


def test_uploads_go_with_the_page(segmentor, watched, tmp_path, monkeypatch):
    import os

    with started(segmentor) as address:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        watched.page.goto(address)
        upload(watched.page, tmp_path / "toy/images/4.png")
        watched.page.wait_for_selector("#picture img")
        assert [*folder.rglob("4.png")]
    assert not folder.exists()
