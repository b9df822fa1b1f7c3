import pytest

from benchmarks import _arguments, _command
from tokenseg_cli.run import parse


@pytest.fixture
def benchmark():
    """Function that runs tools/benchmark.py in this process and lets its errors through."""
    return lambda *words: _command.main(parse(_arguments.__name__, ["benchmark.py", *words]))
