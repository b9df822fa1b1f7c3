"""A hook of mkdocs: the site's pages are the Markdown files of the checkout, read where they lie.

Pages link to source files and folders too, which have no page of their own. For each of these a page is generated that
shows the file or lists the folder, so that every link works in the site as it does in the checkout.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ["README.md", "projects/**/*.md", "tools/**/*.md"]
PICTURES = {".gif", ".jpg", ".jpeg", ".png", ".svg"}
LINK = re.compile(r"(\]\()([^)\s#:]+)(?=[)#])")
PICTURE_TAG = re.compile(r"""(<img\s[^>]*?src=")([^":]+)(?=")""")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
LANGUAGES = {".cff": "yaml", ".json": "json", ".py": "python", ".yaml": "yaml", ".yml": "yaml"}


def pages() -> list[str]:
    """Paths of all Markdown files that are pages, relative to the checkout; a folder's README comes first in it."""
    paths = {path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern)}
    return sorted(paths, key=lambda path: (PurePosixPath(path).parent.parts, not path.endswith("README.md"), path))


def prose(markdown: str) -> str:
    """The text without its blocks of code, in which nothing is a link."""
    return FENCE.sub("", markdown)


def targets(page: str) -> Iterator[Path]:
    """Absolute paths of the files and folders that a page links to."""
    text = prose((ROOT / page).read_text(encoding="utf-8"))
    for pattern in (LINK, PICTURE_TAG):
        for match in pattern.finditer(text):
            yield (ROOT / page).parent.joinpath(match[2]).resolve()


def on_files(files, config):
    """Adds the pages, the pictures that they show, and a generated page for every other file that they link to."""
    from mkdocs.structure.files import File

    found = pages()
    for page in found:
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    for path in sorted({target for page in found for target in targets(page)}):
        _add_target(files, config, path)
    config.nav = _navigation(found)
    return files


def _add_target(files, config, path: Path) -> None:
    from mkdocs.structure.files import File

    if not path.exists() or path.suffix == ".md":
        return
    place = path.relative_to(ROOT).as_posix()
    if path.suffix in PICTURES:
        if not files.get_file_from_path(place):
            files.append(File.generated(config, place, abs_src_path=str(path)))
        return
    name = _generated_name(path)
    if files.get_file_from_path(name):
        return
    if path.is_file():
        content = _source_page(path)
    else:
        children = sorted(child for child in path.iterdir() if child.suffix in LANGUAGES and child.name[0] != "_")
        for child in children:
            _add_target(files, config, child)
        content = "\n".join([f"# {place}", "", *(f"- [{child.name}]({child.name}.md)" for child in children)])
    page = File.generated(config, name, content=content)
    page.inclusion = page.inclusion.NOT_IN_NAV
    files.append(page)


def _generated_name(path: Path) -> str:
    """The page that stands for a file or folder: a folder's README where it has one."""
    place = path.relative_to(ROOT).as_posix()
    if path.is_file():
        return f"{place}.md"
    return f"{place}/README.md" if (path / "README.md").exists() else f"{place}/index.md"


def _source_page(path: Path) -> str:
    """A page that shows a file; its fence has more backticks than any in the file."""
    text = path.read_text(encoding="utf-8")
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    language = LANGUAGES.get(path.suffix, "text")
    return f"# {path.relative_to(ROOT).as_posix()}\n\n{fence}{language}\n{text}\n{fence}\n"


def _navigation(found: list[str]) -> list:
    """The README, the guides of projects/, and every folder's pages together, under the title of the first of them."""
    folders: dict[str, list[str]] = {}
    for page in found:
        folders.setdefault(str(PurePosixPath(page).parent), []).append(page)
    guides = folders.pop("projects", [])
    sections = [{_title(group[0]): group} if len(group) > 1 else group[0] for group in folders.values()]
    return [*sections[:1], {"Guides": guides}, *sections[1:]]


def _title(page: str) -> str:
    return re.search(r"^# (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)[1]


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Turns links to files and folders into links to the pages that stand for them."""
    folder = (ROOT / page.file.src_uri).parent

    def replace(match: re.Match) -> str:
        path = (folder / match[2]).resolve()
        if path.suffix in {".md", *PICTURES} or not path.exists():
            return match[0]
        return match[1] + os.path.relpath(ROOT / _generated_name(path), folder)

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)
