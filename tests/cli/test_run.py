import os
import signal
import sys
from types import ModuleType

import pytest

from tokenseg_cli.run import run, run_modules

WORKER = """Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 7, in loop
tokenseg.some.Error: label file 'a.png' holds: 7
"""


@pytest.fixture
def toy(monkeypatch):
    """A function that runs a command with the given function as its body."""

    def start(main, *words):
        arguments, body = ModuleType("toy_arguments", "What the toy does."), ModuleType("toy_body")

        def parse(parser, words):
            parser.add_argument("--number", type=int)
            return parser.parse_args(words)

        arguments.parse, body.main = parse, main
        for module in (arguments, body):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return run_modules(arguments.__name__, body.__name__, ["folder/toy.py", *words])

    return start


def test_the_body_gets_the_arguments_and_gives_the_exit_code(toy):
    assert toy(lambda args: args.number, "--number", "3") == 3


def test_help_and_wrong_flags_name_the_program(toy, capsys):
    with pytest.raises(SystemExit) as stop:
        toy(None, "--help")
    said = capsys.readouterr().out
    assert stop.value.code == 0 and said.startswith("usage: toy.py ") and "What the toy does." in said
    with pytest.raises(SystemExit) as stop:
        toy(None, "--nmber", "3")
    assert stop.value.code == 2 and "toy.py: error: unrecognized" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no key 'a'; nearest: b"), "no key 'a'; nearest: b"),
        (ValueError("unreadable:\n  a.png\n  b.png"), "unreadable:\n  a.png\n  b.png"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ChildProcessError(WORKER), "label file 'a.png' holds: 7"),
        (FloatingPointError(), "FloatingPointError()"),
        (ValueError("no image '\x1b[2J.png'"), r"no image '\x1b[2J.png'"),
    ],
)
def test_mistakes_end_without_traceback(toy, error, told):
    def fail(args):
        raise error

    with pytest.raises(SystemExit) as stop:
        toy(fail)
    assert stop.value.code == f"toy.py: error: {told}"


def test_defects_keep_their_traceback(toy):
    with pytest.raises(ZeroDivisionError):
        toy(lambda args: 1 / 0)


@pytest.mark.parametrize(("signum", "code", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_signals_end_in_one_line(toy, capsys, signum, code, name):
    def stop(args):
        try:
            os.kill(os.getpid(), signum)
        except KeyboardInterrupt:
            raise ValueError("what a library makes of it") from None

    with pytest.raises(SystemExit) as end:
        toy(stop)
    assert end.value.code == code and capsys.readouterr().err == f"toy.py: stopped by {name}\n"


def test_values_that_cannot_work_end_alike():
    with pytest.raises(SystemExit) as stop:
        run("check_dataset", ["tools/check_dataset.py", "--limit", "0"])
    assert stop.value.code == "check_dataset.py: error: --limit is 0; wanted 1 or more"
