"""Overrides of a config among the words of a command line."""

import argparse
import os
import re
from collections.abc import Sequence


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell overrides from the other words of a command line, so that overrides may stand anywhere, also behind a flag
    that takes several words.

    Args:
        words: The words of the command line.

    Returns:
        All other words, and the overrides: the words that look like `key=value` and are no file.
    """
    found = [bool(re.match(r"[\w.]+=", word)) and not os.path.exists(word) for word in words]
    return (
        [word for word, is_override in zip(words, found, strict=True) if not is_override],
        [word for word, is_override in zip(words, found, strict=True) if is_override],
    )


def parse_with_overrides(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line in which overrides may stand anywhere; the result has them as `overrides`."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change the config; these may stand anywhere")
    others, overrides = split_overrides(words)
    args = parser.parse_args(others)
    if args.overrides:
        parser.error(f"unrecognized arguments: {' '.join(args.overrides)}")
    args.overrides = overrides
    return args
