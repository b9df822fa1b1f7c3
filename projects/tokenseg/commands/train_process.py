"""How a command starts a training, or another command, in a process of its own."""

import sys


def train_command(*words: str) -> list[str]:
    """Return the command line that does what `train_net.py` does with these words, wherever TokenSeg is installed."""
    return tokenseg_command("train", *words)


def tokenseg_command(*words: str) -> list[str]:
    """Return the command line of `tokenseg` with these words, the first of which names one of its commands."""
    return [sys.executable, "-m", "tokenseg_cli", *words]
