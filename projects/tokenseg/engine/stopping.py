"""Stops a run on SIGTERM or Ctrl-C without losing a step."""

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
# One request may arrive twice, since Ctrl-C reaches every process of a terminal and their parent also passes it on. So
# only a signal that arrives later than this many seconds after the first one counts as a second request.
_SAME_REQUEST = 1.0
_LOOK_EVERY = 1.0  # seconds between two queries of the store, each of which costs a message to another process
_WAIT = 0.02  # seconds between two queries while waiting for the other processes at the end of an evaluation


class Stopped(BaseException):
    """The run ends because it was asked to stop.

    This is not an `Exception`, since it is not an error: code that handles or logs errors must not catch it.

    Attributes:
        exit_code: The exit code by which shells and schedulers recognise the signal: 143 for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, signum: int) -> None:
        """
        Args:
            signum: The number of the signal.
        """
        super().__init__(f"stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class StopRequest:
    """A request to stop this run. As a context manager, in the main thread only, it handles SIGTERM and SIGINT.

    A signal ends the block at once by raising `Stopped`. Inside `deferred` a signal is only recorded, and the code
    there checks for it at points where no work is lost; a second request ends this block too. If SIGINT is ignored, as
    in a background job of a script, it stays ignored.

    After every training step the processes of a run agree on the request in a reduction that they need anyway. In an
    evaluation, where the processes do not run in lockstep, they agree through a store; see `evaluating`.
    """

    def __init__(self) -> None:
        self._signum, self._first, self._deferred, self._began = 0, 0.0, False, False
        self._store: dist.Store | None = None
        self._evaluations, self._looked = 0, 0.0
        self._before: dict[int, Any] = {}

    def share(self, store: dist.Store) -> None:
        """Let the processes of the run agree through a store that all of them can access."""
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
            # Libraries may replace what the handler raised by an error of their own, and connections to processes that
            # stop at the same time break. Such an error is a consequence of the request.
            raise self.stopped() from error

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        now, again = time.monotonic(), bool(self._signum)
        if not again:
            self._signum, self._first = signum, now
        if not self._deferred or (again and now - self._first > _SAME_REQUEST):
            raise Stopped(self._signum)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block a signal kills this process directly.

        It is meant for calls in which torch waits for minutes, during which no Python handler would run.
        """
        for signum in self._before:
            signal.signal(signum, signal.SIG_DFL)
        try:
            yield
        finally:
            for signum in self._before:
                signal.signal(signum, self._handle)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a signal is only recorded.

        Raises:
            Stopped: A signal had already arrived before the block.
        """
        if self._signum:
            raise self.stopped()
        self._deferred = self._began = True
        try:
            yield
        finally:
            self._deferred = False

    def __call__(self) -> bool:
        """Return whether this process has been asked to stop."""
        return bool(self._signum)

    def stopped(self) -> Stopped:
        """Return the exception to raise once all processes have agreed to stop.

        A process that got no signal itself reports SIGTERM.
        """
        return Stopped(self._signum or signal.SIGTERM)

    def evaluating(self, batches: Iterable[list[dict]]) -> Iterator[list[dict]]:
        """Iterate over the batches of an evaluation, which ends with `Stopped` in all processes or in none.

        The processes evaluate different numbers of images and then wait for one another, so a process that stopped
        alone would leave the others waiting. Therefore the outcome of evaluation n, `stopped` or `done`, is a key in
        the store that is written only once: the first process to write it decides for all.

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
    """Make the kernel kill this process when its parent process dies, for whatever reason.

    Otherwise processes whose parent was killed would continue to train and save. Only Linux offers this.

    Args:
        parent: The process id of the parent, to detect that it died before this call; None if it is not known.
    """
    if sys.platform != "linux":
        return
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
