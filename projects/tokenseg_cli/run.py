"""Runs a command: reads its arguments first, and imports its body, and torch with it, only if they are right."""

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence

from . import process
from .opencv import check_opencv

# What a user can cause and cure. Any other exception is a defect of ours and keeps its traceback.
MISTAKES = (ValueError, OSError, FloatingPointError)


def run(command: str, argv: Sequence[str]) -> int | None:
    """Run a command of TokenSeg.

    Args:
        command: The dotted name that its arguments have in `tokenseg_cli.arguments` and its body in
            `tokenseg.commands`.
        argv: The name by which the user called it, and the words behind that.

    Returns:
        The exit code, where None is success.

    Raises:
        SystemExit: The arguments are wrong (exit code 2), the command could not do its work (exit code 1, with the
            reason on stderr), or it was stopped by Ctrl-C (130) or SIGTERM (143).
    """
    return run_modules(f"tokenseg_cli.arguments.{command}", f"tokenseg.commands.{command}", argv)


def run_modules(arguments: str, body: str, argv: Sequence[str]) -> int | None:
    """Run a command that two modules make up; see `run`.

    Args:
        arguments: The name of a module with `parse(parser, words)`.
        body: The name of a module with `main(args)`.
        argv: The name by which the user called the command, and the words behind that.
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
    """What has been asked to stop a command; any error after that, which libraries may make of it, is no error."""

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
    """The arguments of a command line, as the module named `arguments` reads them."""
    module = importlib.import_module(arguments)
    parser = argparse.ArgumentParser(
        prog=_program(argv), description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return module.parse(parser, argv[1:])


def _program(argv: Sequence[str]) -> str:
    return os.path.basename(argv[0])


# Files may have names that a terminal would obey.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(10), *range(11, 32), *range(127, 160))}


def _without_traceback(error: Exception) -> str:
    """What went wrong, without the traceback that errors of other processes carry in their text."""
    text = str(error) or repr(error)
    if "Traceback" not in text:
        return text
    last = [line.strip() for line in text.splitlines() if line.strip()][-1]
    return re.sub(r"^(\w+\.)*\w+: ", "", last)
