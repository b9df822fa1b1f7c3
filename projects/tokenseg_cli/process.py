"""The setup of a command's process before torch is imported: memory allocator, warnings, garbage collection."""

import atexit
import contextlib
import ctypes
import gc
import os
import warnings
from collections.abc import Iterator

# If this environment variable is 0, the allocator is not changed.
SWITCH = "TOKENSEG_MALLOC"
# Parameters of glibc's mallopt, from malloc.h; the environment variables with the same meaning, which child processes
# read; and the values.
KEPT = (
    (-1, "MALLOC_TRIM_THRESHOLD_", -1),  # the freed bytes that are kept at the top of the heap: no limit
    (-2, "MALLOC_TOP_PAD_", 2**26),  # the bytes by which the heap grows in addition to a request
    (-4, "MALLOC_MMAP_MAX_", 0),  # the number of large blocks that may be mapped separately, and so not kept: none
)
# The beginnings of torch's warnings about code in other packages, which users of TokenSeg cannot change. The causes are
# the import of such packages, and Detectron2 when it wraps a model for several processes and when it sends objects
# between them. The last warning is about the strides of dimensions of size one, which have no effect; in a model of
# your own it may be about others, and Python's option `-W always` shows it.
_FOREIGN = (
    ("`torch.jit.script` is", FutureWarning),
    ("`broadcast_buffers` is deprecated", FutureWarning),
    ("TypedStorage is deprecated", UserWarning),
    ("Grad strides do not match bucket view strides", UserWarning),
)


def begin() -> None:
    """Set up this process and, through environment variables, its child processes."""
    keep_freed_memory()
    hide_foreign_warnings()


def keep_freed_memory() -> bool:
    """Make glibc keep the memory of freed tensors instead of returning it to the system.

    Without this, every training step on the CPU waits for the system to clear new pages for its large tensors. Other C
    libraries are not changed, nor is a glibc that the user has configured by environment variables.

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


def hide_foreign_warnings() -> None:
    """Hide warnings that users of TokenSeg cannot act on; filters that the user has set take precedence."""
    theirs = os.environ.get("PYTHONWARNINGS", "")
    settings = [f"ignore:{message}:{category.__name__}" for message, category in _FOREIGN]
    for message, category in _FOREIGN:
        warnings.filterwarnings("ignore", message=message, category=category, append=True)
    # If several settings match, Python uses the last one, so the user's settings come after these.
    new = [setting for setting in settings if setting not in theirs.split(",")]
    os.environ["PYTHONWARNINGS"] = ",".join([*new, theirs] if theirs else new)


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Disable garbage collection inside the block, and exclude the objects that it creates from all later collections.

    Nearly all objects created by imports live as long as the process. Scanning them repeatedly took a fifth of the
    import time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.freeze()
            gc.enable()
            atexit.register(gc.unfreeze)  # otherwise some packages report a leak
