import pytest

from benchmarks import _arguments, _command
from tokenseg_cli.run import parse


@pytest.fixture
def benchmark():
    """A function that runs tools/benchmark.py in this process without catching its errors."""
    return lambda *words: _command.main(parse(_arguments.__name__, ["benchmark.py", *words]))
