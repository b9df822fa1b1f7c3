"""A browser for tests of pages: Chromium of the system, driven by playwright."""

import importlib
import os
import shutil

import pytest

from watched_page import DESK, Watched

WANTED = {"gradio": "pip install 'tokenseg[web]'", "playwright.sync_api": "pip install 'tokenseg[web]'"}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def pytest_configure():
    """These tests were asked for by name: what they lack is an error, and no reason to skip them."""
    for package, cure in WANTED.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise pytest.UsageError(f"make test-web wants {package} ({error}): {cure}") from error


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail("make test-web wants Chromium in the PATH: apt install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=FLAGS)


@pytest.fixture
def watched(browser):
    """A page in a window of a desk's size; none of its scripts may fail or open a dialog."""
    context = browser.new_context(viewport=DESK)
    watched = Watched(context.new_page())
    yield watched
    assert watched.alerts == []
    context.close()
