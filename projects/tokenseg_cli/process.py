"""What every process of a command begins with, before torch is imported: memory, warnings, garbage collection."""

import atexit
import contextlib
import ctypes
import gc
import os
import warnings
from collections.abc import Iterator

# Set to 0, this environment variable leaves the allocator as it is.
SWITCH = "TOKENSEG_MALLOC"
# glibc's parameters for mallopt, from malloc.h; the environment variables of the same meaning, which processes that
# this one starts read; and the values in bytes.
KEPT = (
    (-1, "MALLOC_TRIM_THRESHOLD_", -1),  # how much freed memory is kept at the top of the heap: all
    (-2, "MALLOC_TOP_PAD_", 2**26),  # by how much the heap grows beyond what was asked for
    (-4, "MALLOC_MMAP_MAX_", 0),  # how many large blocks may be mapped one by one, which are not kept: none
)
# Packages that we use call it when they are imported, and their users cannot change that.
_MESSAGE = "`torch.jit.script` is deprecated"


def begin() -> None:
    """Prepare this process, and through the environment those that it starts, for the libraries of a command."""
    keep_freed_memory()
    hide_jit_warning()


def keep_freed_memory() -> bool:
    """Have glibc keep the memory that tensors free, instead of giving it back to the system and having it cleared anew.

    Without this every step of a training on the CPU waits for the system to clear the pages of its large tensors. Other
    C libraries are left alone, and so is a glibc whose user has set it up by environment variables.

    Returns:
        Whether the allocator was changed.
    """
    if os.environ.get(SWITCH) == "0" or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ()):
        return False
    if any(name in os.environ for _, name, _ in KEPT) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    for parameter, name, value in KEPT:
        mallopt(parameter, value)
        os.environ[name] = str(value)
    return True


def hide_jit_warning() -> None:
    """Hide torch's warning that `torch.jit.script` is deprecated; filters that the user has set take precedence."""
    warnings.filterwarnings("ignore", message=_MESSAGE, category=FutureWarning, append=True)
    setting, theirs = f"ignore:{_MESSAGE}:FutureWarning", os.environ.get("PYTHONWARNINGS", "")
    if setting not in theirs.split(","):
        # of several settings that fit, Python takes the last
        os.environ["PYTHONWARNINGS"] = f"{setting},{theirs}" if theirs else setting


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Inside the block nothing is collected as garbage, and what it makes is never looked through again.

    Nearly all objects that imports make stay, and looking through them again and again took a fifth of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.freeze()
            gc.enable()
            atexit.register(gc.unfreeze)  # else some packages report a leak
