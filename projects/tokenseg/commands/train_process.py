"""How a command starts a training in a process of its own."""

import sys


def train_command(*words: str) -> list[str]:
    """Return the command line that does what `train_net.py` does with these words, wherever TokenSeg is installed."""
    return [sys.executable, "-m", "tokenseg_cli", "train", *words]
