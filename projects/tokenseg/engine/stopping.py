"""How a run is stopped by SIGTERM or Ctrl-C without losing a step."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Self

import torch.distributed as dist

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# One request may arrive twice: Ctrl-C reaches every process of a terminal, and their parent passes it on. A signal this
# many seconds after the first is another request.
_SAME_REQUEST = 1.0
_LOOK_EVERY = 1.0  # seconds between two looks at the store, which costs a message to another process
_WAIT = 0.02


class Stopped(BaseException):
    """The run ends because it was asked to; no Exception, because it is no error that anybody should catch or log.

    Attributes:
        exit_code: The exit code by which shells and schedulers know the signal: 143 for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, signum: int) -> None:
        """
        Args:
            signum: The number of the signal.
        """
        super().__init__(f"stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class StopRequest:
    """Whether this run has been asked to stop. As a context it handles the signals, which must be in the main thread.

    A signal ends the block at once by `Stopped`. Inside `deferred` it is only noted, and whoever works there asks for
    it where ending loses nothing; a second request ends that too. A SIGINT that is ignored, as in a script's background
    job, stays ignored.

    In every step the processes of a run share the answer with what they share anyway. In an evaluation, where they are
    not in step, they agree by a store: see `evaluating`.
    """

    def __init__(self) -> None:
        self._signum, self._first, self._deferred, self._began = 0, 0.0, False, False
        self._store: dist.Store | None = None
        self._evaluations, self._looked = 0, 0.0
        self._before: dict[int, Any] = {}

    def share(self, store: dist.Store) -> None:
        """Agree with the other processes of the run by a store that all of them have."""
        self._store = store

    def __enter__(self) -> Self:
        for signum in SIGNALS:
            if signal.getsignal(signum) != signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, _kind: type | None, error: BaseException | None, _traceback: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        if self._signum and not self._began and isinstance(error, Exception):
            # Libraries turn what a handler raises into errors of theirs, and other processes end their connections.
            raise self.stopped() from error

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        now, again = time.monotonic(), bool(self._signum)
        if not again:
            self._signum, self._first = signum, now
        if not self._deferred or (again and now - self._first > _SAME_REQUEST):
            raise Stopped(self._signum)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block the kernel ends this process: torch waits there for minutes, and no handler would run."""
        for signum in self._before:
            signal.signal(signum, signal.SIG_DFL)
        try:
            yield
        finally:
            for signum in self._before:
                signal.signal(signum, self._handle)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a signal is only noted.

        Raises:
            Stopped: One had arrived before.
        """
        if self._signum:
            raise self.stopped()
        self._deferred = self._began = True
        try:
            yield
        finally:
            self._deferred = False

    def __call__(self) -> bool:
        """Whether this process has been asked to stop."""
        return bool(self._signum)

    def stopped(self) -> Stopped:
        """What to raise once all processes have agreed to stop; a process that got no signal takes it for SIGTERM."""
        return Stopped(self._signum or signal.SIGTERM)

    def evaluating(self, batches: Iterable[list[dict]]) -> Iterator[list[dict]]:
        """The batches of an evaluation; ends with `Stopped` in all processes or in none.

        Processes evaluate different numbers of images and then wait for one another, so that one that stopped alone
        would leave the others waiting. Whether evaluation n was stopped or done is therefore a word in the store that
        is written once: the first to write it decides for all.

        Args:
            batches: The batches of this process.

        Raises:
            Stopped: A process of the run has been asked to stop.
        """
        self._evaluations += 1
        word, count = f"evaluation {self._evaluations}", f"arrivals {self._evaluations}"
        for batch in batches:
            self._end_if_stopped(word)
            yield batch
        if self._store is None:
            return
        self._store.add(count, 1)
        while self._store.add(count, 0) < dist.get_world_size():
            self._end_if_stopped(word, every=0)
            time.sleep(_WAIT)
        if self._store.compare_set(word, "", "done") == b"stopped":
            raise self.stopped()

    def _end_if_stopped(self, word: str, *, every: float = _LOOK_EVERY) -> None:
        if self._store is None:
            if self():
                raise self.stopped()
            return
        if not self() and time.monotonic() - self._looked < every:
            return
        self._looked = time.monotonic()
        if (self() or self._store.check([word])) and self._store.compare_set(word, "", "stopped") == b"stopped":
            raise self.stopped()


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel end this process when the one that started it dies, however that dies.

    Otherwise processes whose parent was killed would go on training and saving. Only Linux offers this.

    Args:
        parent: The process id of the parent, which may have died before this call; None if it is not known.
    """
    if sys.platform != "linux":
        return
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
