"""Train a small model on generated images with all cores, evaluate it, and draw its predictions.

The config is configs/quickstart.py. The command first measures, with a few iterations each, which is faster on this
machine: one process with many threads, or several processes with fewer threads.
"""

import argparse
from collections.abc import Sequence

from ..overrides import parse_with_overrides


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of the command."""
    return parse_with_overrides(parser, words)
