"""The page of a report in a browser."""

import pytest
from detectron2.data import MetadataCatalog

from evaluated_run import HOSTILE, evaluate
from tokenseg_cli.run import parse
from watched_page import PHONE, SMALL_PHONE

NAMES = [HOSTILE, "<img src=x onerror=alert(1)>", "javascript:alert(2)" + "x" * 80]


@pytest.fixture
def report(toy_predictor, toy_dataset, tmp_path, watched):
    """A page that shows the report of a run with hostile class names, and its address."""
    from tokenseg.commands.report import main

    MetadataCatalog.get(toy_dataset).stuff_classes[:] = NAMES
    evaluate(tmp_path / "toy_model", toy_dataset)
    path = tmp_path / "page.html"
    words = [str(tmp_path / "toy_model"), "--output", str(path), "--images", "2", "--device", "cpu"]
    main(parse("tokenseg_cli.arguments.report", ["report", *words]))
    watched.page.goto(path.as_uri())
    return watched, path.as_uri()


def column(page, place):
    return page.locator(f"table.sortable tbody tr > *:nth-child({place})").all_inner_texts()


def test_classes_are_sorted_by_a_click(report):
    page = report[0].page
    heading = page.locator("table.sortable thead th").nth(2)
    before = column(page, 3)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(page, 3) == sorted(before, key=float) and len(set(before)) > 1
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, 3) == sorted(before, key=float, reverse=True)


def test_classes_are_found_by_their_names(report):
    page = report[0].page
    assert sorted(column(page, 1)) == sorted(NAMES)  # as text
    page.fill("#find", "ONERROR")
    assert page.locator("table.sortable tbody tr:visible").count() == 1
    page.fill("#find", "")
    assert page.locator("table.sortable tbody tr:visible").count() == 3


def test_it_asks_for_nothing_else(report):
    watched, home = report
    watched.page.wait_for_load_state("networkidle")
    assert watched.requests[0] == home and watched.foreign(home) == []
    pictures = watched.page.locator(".pictures img")
    assert pictures.count() == 16 and pictures.evaluate_all("all => all.every(one => one.naturalWidth > 0)")


def test_it_fits_a_phone(report):
    assert not report[0].overflows(PHONE) and not report[0].overflows(SMALL_PHONE)
