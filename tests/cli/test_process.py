"""The setup of a command's process. Each test has its own copy of the environment variables."""

import ctypes
import gc
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tokenseg_cli import process

CLI = str(Path(process.__file__).parents[1])
# Prints whether the allocator was set up, and the number of pages that the system provided while 40 MiB were allocated
# and freed repeatedly; the first time is not counted.
FAULTS = """
import ctypes, resource, sys
from tokenseg_cli import process
print(process.keep_freed_memory())
c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def faults(size, times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        place = c.malloc(size)
        ctypes.memset(place, 1, size)
        c.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(SIZE, 1)
print(faults(SIZE, 3))
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Environment variables that a test may change."""
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})
    return os.environ


@pytest.fixture
def asked(monkeypatch):
    """The calls of mallopt, as a list of (parameter, value)."""
    calls = []
    library = type("Library", (), {"mallopt": staticmethod(lambda *words: calls.append(words))})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(os, "confstr_names", {"CS_GNU_LIBC_VERSION": 2})
    return calls


def test_glibc_is_set_up_here_and_in_the_processes_that_follow(asked, environment):
    assert process.keep_freed_memory()
    assert asked == [(parameter, int(environment[name])) for parameter, name, _ in process.KEPT]


@pytest.mark.parametrize(
    "setting", [("TOKENSEG_MALLOC", "0"), ("MALLOC_TOP_PAD_", "0"), ("GLIBC_TUNABLES", "glibc.malloc.check=1")]
)
def test_what_the_user_has_set_stays(asked, environment, setting):
    environment.update([setting])
    assert not process.keep_freed_memory()
    others = {name for _, name, _ in process.KEPT} - {setting[0]}
    assert not asked and not others & environment.keys()


@pytest.mark.parametrize("names", [{}, {"CS_PATH": 0}])
def test_other_c_libraries_are_left_alone(asked, monkeypatch, names):
    monkeypatch.setattr(os, "confstr_names", names)
    assert not process.keep_freed_memory() and not asked


def _run(code, **settings):
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": CLI, **settings}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="glibc alone is set up")
def test_freed_memory_is_used_again():
    size, page = 40 * 2**20, os.sysconf("SC_PAGE_SIZE")
    code = FAULTS.replace("SIZE", str(size))
    (changed, kept), (left, cleared) = (_run(code, TOKENSEG_MALLOC=on).stdout.split() for on in "10")
    assert (changed, left) == ("True", "False")
    assert int(kept) < 100 and int(cleared) >= 3 * size // page


JIT = "import warnings; warnings.warn('`torch.jit.script` is deprecated. Please switch', FutureWarning)"
OTHERS = JIT.replace("script", "trace") + f"\n{JIT.replace('FutureWarning', 'UserWarning')}"


def test_the_warning_of_jit_script_is_hidden_and_no_other():
    begin = "from tokenseg_cli import process; process.hide_foreign_warnings()\n"
    assert _run(begin + JIT).stderr == ""
    assert _run(begin + OTHERS).stderr.count("is deprecated") == 2
    assert (
        "FutureWarning" in _run(begin + JIT, PYTHONWARNINGS="always").stderr
    )  # a user who asks for all warnings gets all


def test_processes_that_follow_hide_it_too(environment, monkeypatch):
    environment["PYTHONWARNINGS"] = "ignore::ImportWarning"
    with warnings.catch_warnings():
        process.hide_foreign_warnings()
        process.hide_foreign_warnings()
    assert environment["PYTHONWARNINGS"].count("jit.script") == 1 and "ImportWarning" in environment["PYTHONWARNINGS"]
    assert _run(JIT).stderr == ""


def test_nothing_is_collected_while_a_command_imports():
    assert gc.isenabled()
    with pytest.raises(ValueError, match="import failed"), process.imports():
        assert not gc.isenabled()
        raise ValueError("import failed")
    assert gc.isenabled()
