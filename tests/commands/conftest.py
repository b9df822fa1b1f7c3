import importlib

import pytest

from tokenseg_cli.run import parse


@pytest.fixture
def command():
    """Function that runs a command as its script does, in this process, and lets its errors through."""

    def call(name, *words):
        args = parse(f"tokenseg_cli.arguments.{name}", [name, *map(str, words)])
        return importlib.import_module(f"tokenseg.commands.{name}").main(args)

    return call
