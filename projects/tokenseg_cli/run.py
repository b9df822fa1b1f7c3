"""Runs a command: parses its arguments first, and imports its body, and thereby torch, only if they are valid."""

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence

from . import process
from .opencv import check_opencv

# Errors that a user can cause and fix. Any other exception is a bug in TokenSeg and keeps its traceback.
MISTAKES = (ValueError, OSError, FloatingPointError)


def run(command: str, argv: Sequence[str]) -> int | None:
    """Run a command of TokenSeg.

    Args:
        command: The name of the command's module within both `tokenseg_cli.arguments` and `tokenseg.commands`.
        argv: The name with which the user called the command, followed by its arguments.

    Returns:
        The exit code; None means success.

    Raises:
        SystemExit: The arguments are invalid (exit code 2), the command failed (exit code 1, with the reason on
            stderr), or it was stopped by Ctrl-C (130) or SIGTERM (143).
    """
    return run_modules(f"tokenseg_cli.arguments.{command}", f"tokenseg.commands.{command}", argv)


def run_modules(arguments: str, body: str, argv: Sequence[str]) -> int | None:
    """Run a command that consists of two modules; see `run`.

    Args:
        arguments: The name of a module with a function `parse(parser, words)`.
        body: The name of a module with a function `main(args)`.
        argv: The name with which the user called the command, followed by its arguments.
    """
    signals = _Signals()
    try:
        args = parse(arguments, argv)
        process.begin()
        with process.imports():
            check_opencv()
            module = importlib.import_module(body)
        return module.main(args)
    except (Exception, KeyboardInterrupt) as error:
        if signals.seen:
            sys.stderr.write(f"{_program(argv)}: stopped by {_SIGNALS[signals.seen]}\n")
            sys.exit(128 + signals.seen)
        if not isinstance(error, MISTAKES):
            raise
        sys.exit(f"{_program(argv)}: error: {_without_traceback(error).translate(_CONTROLS)}")
    finally:
        signals.leave()


_SIGNALS: dict[int, str] = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class _Signals:
    """Records the signal that stops a command.

    Libraries may turn the interrupt into any other exception, so every exception after a signal counts as the stop.
    """

    def __init__(self) -> None:
        self.seen = 0
        handlers = {signum: signal.getsignal(signum) for signum in _SIGNALS}
        self._before = {signum: handler for signum, handler in handlers.items() if handler != signal.SIG_IGN}
        for signum in self._before:
            signal.signal(signum, self._end)

    def _end(self, signum: int, _frame: object) -> None:
        self.seen = signum
        raise KeyboardInterrupt

    def leave(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


def parse(arguments: str, argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line with the module named `arguments`, whose docstring becomes the description in `--help`."""
    module = importlib.import_module(arguments)
    parser = argparse.ArgumentParser(
        prog=_program(argv), description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return module.parse(parser, argv[1:])


def _program(argv: Sequence[str]) -> str:
    return os.path.basename(argv[0])


# Control characters are escaped in messages, since file names may contain sequences that a terminal would execute.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(10), *range(11, 32), *range(127, 160))}


def _without_traceback(error: Exception) -> str:
    """Return the message of an error, without the traceback that errors from other processes contain in their text."""
    text = str(error) or repr(error)
    if "Traceback" not in text:
        return text
    last = [line.strip() for line in text.splitlines() if line.strip()][-1]
    return re.sub(r"^(\w+\.)*\w+: ", "", last)
