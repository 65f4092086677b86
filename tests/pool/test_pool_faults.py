"""Faults of an engine's code while it loads: one more try without optional speed-ups, and the truth if that fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.errors import ApiError
from tests.support.pool import LoggedPool, ask, echo, whole
from tests.support.processes import wait_for

FAULTS = ("SIGILL", "SIGSEGV", "SIGBUS")
RETRY = "killed by SIGILL while loading; loading it again without optional speed-ups"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LoggedPool]:
    pool = LoggedPool(tmp_path)
    try:
        yield pool
    finally:
        pool.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_whose_load_is_killed_by_a_fault_is_served_without_speedups(pool: LoggedPool, fault: str) -> None:
    session = pool.session(echo("model", f"load_signal:{fault}"))
    assert whole(ask(session, "on"))[0] == "on"
    assert "load_signal" in session.info.given_up
    assert pool.client.infos()["model"].given_up == session.info.given_up
    assert pool.client.states()["model"] == "ready"


def test_a_model_tells_how_many_requests_it_takes(pool: LoggedPool) -> None:
    assert pool.client.room("model", 5) is None
    assert whole(ask(pool.session(echo("model", "slots:3")), "on"))[0] == "on"
    assert pool.client.room("model", 5) == 8


def test_later_workers_of_the_model_give_up_the_same_at_once(pool: LoggedPool) -> None:
    config = echo("model", "load_signal:SIGILL")
    pool.session(config)
    (first,) = pool.workers()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: pool.workers() not in ([], [first]), 5, "another worker")
    assert whole(ask(pool.session(config), "on"))[0] == "on"
    assert (pool.count("loading model model"), pool.count(RETRY)) == (3, 1)


def test_an_explained_failure_and_a_kill_are_not_tried_again(pool: LoggedPool) -> None:
    for name, option in (("bad", "load_error:broken"), ("killed", "load_signal:SIGKILL")):
        with pytest.raises(ApiError):
            pool.session(echo(name, option))
    assert pool.count("loading model") == 2


def test_where_nothing_helps_the_sentence_says_so(pool: LoggedPool) -> None:
    with pytest.raises(ApiError, match="SIGILL") as caught:
        pool.session(echo("model", "fatal_signal:SIGILL"))
    assert pool.client.states()["model"] == "failed"
    message = str(caught.value)
    assert "also without optional speed-ups" in message
    assert "localai-flask doctor" in message and "reinstall" not in message
    assert (pool.count("loading model"), pool.count(RETRY)) == (2, 1)
