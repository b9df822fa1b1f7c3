"""The Markdown pages: each can be found from the README, and what they link to is there."""

import re

import pytest

from page_commands import PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)|<img\s[^>]*src=\"([^\"]+)\"")


def text(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page):
    """Pairs of the file or folder that a page links to, and the anchor in it; not those to other sites."""
    found = ("".join(groups) for groups in LINK.findall(text(page)))
    parts = (link.partition("#") for link in found if ":" not in link)
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def anchors(page):
    """What GitHub makes of the headings: lower case, hyphens for spaces, other signs left out."""
    titles = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    found = links(page)
    assert [str(path) for path, _ in found if not path.exists()] == []
    assert [anchor for path, anchor in found if anchor and path.suffix == ".md" and anchor not in anchors(path)] == []


def test_every_page_is_reached_from_the_readme():
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        found = {path / "README.md" if path.is_dir() else path for path, _ in links(page)}
        ahead += (found & set(PAGES)) - reached
    assert [str(page) for page in PAGES if page not in reached] == []


@pytest.mark.slow("the pages as a site, by mkdocs in its strict mode")
def test_the_site_is_built(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / ".mkdocs/mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
    made = [tmp_path / "site" / page.relative_to(ROOT) for page in PAGES]
    made = [page.with_name("index.html") if page.stem == "README" else page.with_suffix(".html") for page in made]
    assert [str(page) for page in made if not page.exists()] == []
    assert (tmp_path / "site/projects/tokenseg/sgr/images/transfer.jpg").exists()
    assert "Segmentor" in (tmp_path / "site/projects/tokenseg/contracts.py.html").read_text()
