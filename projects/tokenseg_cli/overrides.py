"""Config overrides, `key=value`, among the arguments of a command line."""

import argparse
import os
import re
from collections.abc import Sequence


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate overrides from the other words of a command line.

    Overrides may therefore be anywhere, even after a flag that accepts several words.

    Args:
        words: The words of the command line.

    Returns:
        The other words, and the overrides, which are the words that look like `key=value` and are not existing files.
    """
    found = [bool(re.match(r"[\w.]+=", word)) and not os.path.exists(word) for word in words]
    return (
        [word for word, is_override in zip(words, found, strict=True) if not is_override],
        [word for word, is_override in zip(words, found, strict=True) if is_override],
    )


def add_trust_config(parser: argparse.ArgumentParser) -> None:
    """Add the flag that allows a config.yaml to call anything, not only what the configs of TokenSeg call."""
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="allow a config.yaml to call anything, such as your own classes; it can then run any code",
    )


def parse_with_overrides(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line in which overrides may be anywhere; they become the list `overrides` of the result."""
    add_trust_config(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change the config; may be in any position")
    others, overrides = split_overrides(words)
    args = parser.parse_args(others)
    if args.overrides:
        parser.error(f"unrecognized arguments: {' '.join(args.overrides)}")
    args.overrides = overrides
    return args
