import importlib

import pytest

from tokenseg_cli.run import parse


@pytest.fixture
def command():
    """A function that runs a command like its script, but in this process and without catching its errors."""

    def call(name, *words):
        args = parse(f"tokenseg_cli.arguments.{name}", [name, *map(str, words)])
        return importlib.import_module(f"tokenseg.commands.{name}").main(args)

    return call
