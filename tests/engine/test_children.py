"""How the processes of a run end."""

import atexit
import os
import threading
import time

import pytest
from tqdm import tqdm

from tokenseg.engine.launchers import Place
from tokenseg.engine.processes import start_and_wait

PLACES = [Place(rank, 2, rank, 2, "nowhere") for rank in range(2)]


def _second_aborts(_stop, place):
    if place.rank == 1:
        os.abort()
    time.sleep(60)


def _aborts_on_its_way_out(_stop, _place):
    print("last words", end="")  # they stay in the buffer, which must be written nevertheless
    atexit.register(os.abort)


def _draws_a_bar(_stop, _place):
    for _ in tqdm([0], disable=True):
        pass
    print(type(tqdm.get_lock()).__name__, end="")


@pytest.mark.slow("how processes of a run end")
def test_the_process_that_failed_is_named_and_not_those_that_were_ended_with_it():
    with pytest.raises(ChildProcessError, match="process 1 of this machine ended with signal SIGABRT"):
        start_and_wait(_second_aborts, PLACES)


@pytest.mark.slow("how processes of a run end")
def test_what_breaks_after_the_work_does_not_make_a_run_fail(capfd):
    start_and_wait(_aborts_on_its_way_out, PLACES)
    assert capfd.readouterr().out == "last words" * 2


@pytest.mark.slow("how processes of a run end")
def test_processes_leave_no_semaphore_behind(capfd):
    """tqdm's own lock has one, which would be reported as leaked."""
    start_and_wait(_draws_a_bar, PLACES[:1])
    assert capfd.readouterr().out == type(threading.RLock()).__name__
