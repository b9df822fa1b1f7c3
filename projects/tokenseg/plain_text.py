"""Escapes names that others have chosen, for formats in which some characters have a special meaning."""

import contextlib
import re
from collections.abc import Iterable

# A spreadsheet interprets a cell that starts with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(text: str) -> str:
    """Escape a name for a cell of a CSV file: an apostrophe keeps a spreadsheet from interpreting it as a formula."""
    with contextlib.suppress(ValueError):
        float(text)
        return text
    return f"'{text}" if text.startswith(_FORMULA) else text


def plot_text(text: str) -> str:
    """Escape a name for matplotlib, which would typeset text between two dollar signs as mathematics."""
    return text.replace("$", r"\$")


def markdown_text(text: str) -> str:
    """Escape a name for a page in Markdown, where some characters would create a link, a heading or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~$&])", r"\\\1", text)


def caption_text(text: str, *, longest: int = 40) -> str:
    """Prepare a name for a line in a picture: control characters are escaped, and a long name is shortened."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def unprintable(names: Iterable[str]) -> list[str]:
    """Find names that are empty or have control characters, which could manipulate a terminal; return them escaped."""
    return [ascii(name) for name in names if not name.strip() or not name.isprintable()]
