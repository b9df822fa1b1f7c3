"""Names that others have chosen, in places where some characters mean something."""

import contextlib
import re
from collections.abc import Iterable

# With one of these at the start a spreadsheet takes a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(text: str) -> str:
    """A name for a cell of a CSV: with an apostrophe before it where a spreadsheet would take it for a formula."""
    with contextlib.suppress(ValueError):
        float(text)
        return text
    return f"'{text}" if text.startswith(_FORMULA) else text


def plot_text(text: str) -> str:
    """A name for matplotlib, which would read what stands between two dollar signs as mathematics."""
    return text.replace("$", r"\$")


def markdown_text(text: str) -> str:
    """A name for a page in Markdown, where some characters would make a link, a heading or a piece of HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~$&])", r"\\\1", text)


def caption_text(text: str, *, longest: int = 40) -> str:
    """A name for one line in a picture: as it would be typed if it holds control characters, and cut if it is long."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def unprintable(names: Iterable[str]) -> list[str]:
    """The names that are empty or hold control characters, which a terminal would obey, as they would be typed."""
    return [ascii(name) for name in names if not name.strip() or not name.isprintable()]
