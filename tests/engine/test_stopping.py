import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch.distributed as dist

from tokenseg.engine import stopping
from tokenseg.engine.stopping import Stopped, StopRequest


def send(signum=signal.SIGTERM):
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize(("signum", "code", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_a_signal_ends_the_block(signum, code, name):
    before = signal.getsignal(signum)
    with pytest.raises(Stopped, match=f"stopped by {name}") as stop, StopRequest():
        send(signum)
    assert stop.value.exit_code == code and signal.getsignal(signum) is before


def test_a_deferred_signal_is_only_noted(monkeypatch):
    with StopRequest() as stop, stop.deferred():
        assert not stop()
        send()
        send(signal.SIGINT)  # the same request again: one signal is from the terminal, the other from the parent
        assert stop() and stop.stopped().exit_code == 143
        monkeypatch.setattr(stopping, "_SAME_REQUEST", 0)
        with pytest.raises(Stopped):
            send()


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_a_library_makes_of_it_is_no_error():
    with pytest.raises(Stopped), StopRequest():
        try:
            send()
        except Stopped:
            raise KeyError from None
    with pytest.raises(Stopped), StopRequest() as stop:
        with contextlib.suppress(Stopped):
            send()
        with stop.deferred():
            pytest.fail("trains")
    with pytest.raises(OSError, match="full"), StopRequest() as stop, stop.deferred():
        send()
        raise OSError("the disk is full")


def test_an_evaluation_ends_between_batches():
    stop, seen = StopRequest(), []
    with pytest.raises(Stopped), stop, stop.deferred():
        for batch in stop.evaluating([1, 2, 3]):
            seen.append(batch)
            send()
    assert seen == [1]


@pytest.mark.parametrize("asked", [None, 0, 1])
@pytest.mark.parametrize("sizes", [(3, 3), (0, 4)])
def test_processes_agree_on_the_end_of_an_evaluation(monkeypatch, asked, sizes):
    """Two processes, simulated by threads, of which one is asked to stop, has fewer images, or has none."""
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    store, ends = dist.HashStore(), {}

    def evaluate(rank):
        stop = StopRequest()
        stop.share(store)
        stop._signum = signal.SIGTERM if rank == asked else 0
        try:
            ends[rank] = len(list(stop.evaluating(range(sizes[rank]))))
        except Stopped:
            ends[rank] = "stopped"

    threads = [threading.Thread(target=evaluate, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    done, stopped = {0: sizes[0], 1: sizes[1]}, {0: "stopped", 1: "stopped"}
    late = asked is not None and not sizes[asked]  # both may have finished before they check for the signal
    assert ends == (done if asked is None else stopped) or (late and ends == done)


CHILD = """
import os, sys, time
from tokenseg.engine.stopping import die_with_parent
if os.fork():
    sys.stdin.read()
else:
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a signal for it")
@pytest.mark.slow("a process dies with its parent")
def test_a_process_dies_with_its_parent_where_ctrl_c_is_ignored():
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    assert parent.stdout.read() == b""  # the read returns once the child has closed its end of the pipe too
    parent.wait()
