"""What is said of a worker that has ended."""

from __future__ import annotations

import signal

from localai_flask.pool.in_hand import Mark
from localai_flask.pool.manager.table.death import KILLS, SUSPECTED_S, Death, Suspects, describe_death


def test_a_signal_is_told_by_its_name_or_its_number() -> None:
    assert "killed by SIGSEGV, the engine crashed" in describe_death("m", Death(-signal.SIGSEGV), False).message
    assert "while serving: killed by signal 40." in describe_death("m", Death(-40), False).message
    assert "while loading the model: exit code 3." in describe_death("m", Death(3), True).message


def test_kills_from_outside_make_a_suspect_when_there_are_a_few_and_a_fault_at_once() -> None:
    suspects, request = Suspects(), b"r" * 16
    killed = Death(-signal.SIGKILL, suspect=Mark(request))
    for number in range(KILLS):
        assert suspects.digests(100.0) == []
        suspects.add(killed, 100.0 + number)
    assert suspects.digests(110.0) == [request]
    seldom = Suspects()
    for number in range(2 * KILLS):
        seldom.add(killed, number * SUSPECTED_S)
        assert seldom.digests(number * SUSPECTED_S) == []
    seldom.add(Death(-signal.SIGSEGV, suspect=Mark(request)), 0.0)
    assert seldom.digests(1.0) == [request]
