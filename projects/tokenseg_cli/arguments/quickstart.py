"""From nothing to a picture: train configs/quickstart.py on every core, evaluate it, and draw what it sees.

First it measures which is faster on this machine, a few iterations each: one process of many threads, or several
processes of one thread.
"""

import argparse
from collections.abc import Sequence

from ..overrides import parse_with_overrides


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of the command."""
    return parse_with_overrides(parser, words)
