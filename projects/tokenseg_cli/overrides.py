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


def add_trust_config(parser: argparse.ArgumentParser) -> None:
    """Add the flag by which a config.yaml may call more than the configs of the checkout do."""
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="let a config.yaml call anything, such as classes of your own; it can run any code then",
    )


def parse_with_overrides(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line in which overrides may stand anywhere; the result has them as `overrides`."""
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change the config; these may stand anywhere")
    others, overrides = split_overrides(words)
    args = parser.parse_args(others)
    if args.overrides:
        parser.error(f"unrecognized arguments: {' '.join(args.overrides)}")
    args.overrides = overrides
    return args
