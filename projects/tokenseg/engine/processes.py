"""The processes of a run: how they start, find one another, and end together."""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from detectron2.utils import comm
from tqdm import tqdm

from ..d2_compat import make_local_groups
from .launchers import Place
from .stopping import SIGNALS, Stopped, StopRequest, die_with_parent

_TIMEOUT = timedelta(minutes=30)
_STOPPED = {128 + signum for signum in SIGNALS}  # the exit codes of processes that were asked to stop
# A user can correct the cause of these errors, so they are reported even if the run was asked to stop anyway.
_MISTAKES = (ValueError, OSError, FloatingPointError)

Work = Callable[[StopRequest, Place], None]


def free_meeting() -> str:
    """Return a free address of this machine, at which processes can find one another."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def group(place: Place, *, device: str, stop: StopRequest) -> Iterator[None]:
    """Inside the block this process belongs to the process group of the run.

    Args:
        place: The place of this process in the run.
        device: The type of the device of all processes, `cpu` or `cuda`.
        stop: The request that can stop the run, on which the processes will agree.

    Raises:
        ValueError: There is no GPU for this process.
    """
    if device == "cuda":
        torch.cuda.set_device(_gpu(place))
    with stop.at_once():
        store, _, _ = next(dist.rendezvous(place.meeting, place.rank, place.world_size))
        dist.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            store=dist.PrefixStore("group", store),
            rank=place.rank,
            world_size=place.world_size,
            timeout=_TIMEOUT,
        )
        comm.synchronize()  # otherwise the first collective could time out while other processes are still starting
    make_local_groups(place.local_size)
    stop.share(dist.PrefixStore("stop", store))
    yield
    dist.destroy_process_group()


def _gpu(place: Place) -> int:
    """Return the index of this process's GPU. Some launchers show it all GPUs of its machine, others only its own."""
    count = torch.cuda.device_count()
    if count not in (1, place.local_size) and count < place.local_size:
        raise ValueError(f"{place.local_size} processes on a machine with {count} GPU(s); wanted a GPU for each")
    return 0 if count == 1 else place.local_rank


def start_and_wait(work: Work, places: Sequence[Place]) -> None:
    """Start a process for each place and wait until all of them have finished their work.

    The processes end with this one, however it ends. If this process gets a signal to stop, it passes the signal on.

    Args:
        work: The function that each process runs. The processes import its module.
        places: The places of the processes on this machine.

    Raises:
        ChildProcessError: A process failed; the message contains its traceback. The others have been killed.
        Stopped: The run was asked to stop.
    """
    children = _Children(work, places)
    stop_after = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum, handler in stop_after.items():
        if handler != signal.SIG_IGN:
            signal.signal(signum, children.pass_on)
    try:
        children.wait()
    finally:
        children.kill()
        for signum, handler in stop_after.items():
            signal.signal(signum, handler)
    children.tell()


class _Children:
    """The processes that `start_and_wait` has started."""

    def __init__(self, work: Work, places: Sequence[Place]) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._errors: list[Connection] = []
        self._signum = 0
        self._failed: BaseProcess | None = None  # the first process that failed, because of which the others are killed
        # A terminal sends Ctrl-C to all of its processes. The children ignore it until they can handle it, and get the
        # signal from this process instead.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for place in places:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_enter, args=(sender, os.getpid(), work, place))
                process.start()
                sender.close()
                self._processes.append(process)
                self._errors.append(receiver)
        finally:
            signal.signal(signal.SIGINT, before)

    def pass_on(self, signum: int, _frame: object) -> None:
        """Handle a signal: ask the processes to stop, or kill them if this is the second signal."""
        if self._signum:
            self.kill()
            return
        self._signum = signum
        for process in self._processes:
            process.terminate()

    def kill(self) -> None:
        for process in self._processes:
            process.kill()

    def wait(self) -> None:
        """Wait until all processes have ended, or one has failed."""
        left: dict[Any, BaseProcess] = {process.sentinel: process for process in self._processes}
        while left:
            for sentinel in multiprocessing.connection.wait(list(left)):
                process = left.pop(sentinel)
                process.join()
                if process.exitcode and process.exitcode not in _STOPPED and not self._signum:
                    self._failed = process
                    return

    def tell(self) -> None:
        """Raise the error for a process that failed or was stopped, if there is one."""
        for process in self._processes:
            process.join()
        found = [_words(receiver) for receiver in self._errors]
        told = [text for curable, text in found if text and (curable or not self._signum)]
        codes = [process.exitcode for process in self._processes]
        if told:
            raise ChildProcessError(told[0])
        if not any(codes):
            return
        if self._failed is None or any(code in _STOPPED for code in codes):
            raise Stopped(self._signum or signal.SIGTERM)
        number, code = self._processes.index(self._failed), self._failed.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ChildProcessError(
            f"process {number} of this machine ended with {how}; the others were killed because of it"
        )


def _words(receiver: Connection) -> tuple[bool, str]:
    """Receive whether a user can correct the error of a process, and its text, which is "" if it sent none."""
    try:
        return receiver.recv()
    except EOFError:
        return False, ""


def _enter(errors: Connection, parent: int, work: Work, place: Place) -> None:
    """Run the work of one process. If it fails, send the error to the parent process."""
    die_with_parent(parent)
    prepare_to_leave()
    try:
        with StopRequest() as stop:
            work(stop, place)
    except Stopped as stopped:
        leave(stopped.exit_code)
    except Exception as error:
        errors.send((isinstance(error, _MISTAKES), traceback.format_exc()))
        leave(1)
    leave(0)


def prepare_to_leave() -> None:
    """Prepare this process for ending with `leave`. This must be called before the work begins.

    tqdm protects its bars by a semaphore, which is released only in Python's usual cleanup, which `leave` skips. A lock
    between threads is enough, since only one process shows bars.
    """
    tqdm.set_lock(threading.RLock())


def leave(code: int) -> NoReturn:
    """End this process immediately, once its work is done, without Python's usual cleanup.

    The usual cleanup also destroys torch's process group. About one process in thirty was aborted there (`terminate
    called without an active exception`, seen with torch 2.15 and gloo), after everything was saved, so that a
    successful run was reported as failed.

    Args:
        code: The exit code.
    """
    for worker in multiprocessing.active_children():
        worker.terminate()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
