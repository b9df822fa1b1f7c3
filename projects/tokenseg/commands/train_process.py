"""The command lines with which a command starts a training, or another command, in a separate process."""

import sys


def train_command(*words: str) -> list[str]:
    """Return the command line of a training with these arguments; it also works without `train_net.py`, in a wheel."""
    return tokenseg_command("train", *words)


def tokenseg_command(*words: str) -> list[str]:
    """Return the command line of `tokenseg` with these arguments, the first of which is the name of the command."""
    return [sys.executable, "-m", "tokenseg_cli", *words]
