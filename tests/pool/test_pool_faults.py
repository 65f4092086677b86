"""Faults of an engine's code while it loads: one more try without optional speed-ups, and the truth if that fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from localai_flask.errors import ApiError
from tests.support.pool import Pool, ask, echo, whole
from tests.support.processes import wait_for

FAULTS = ("SIGILL", "SIGSEGV", "SIGBUS")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_whose_load_is_killed_by_a_fault_is_served_without_speedups(pool: Pool, fault: str) -> None:
    session = pool.session(echo("model", f"load_signal:{fault}"))
    assert whole(ask(session, "on"))[0] == "on"
    assert "load_signal" in session.info.given_up
    assert pool.client.infos()["model"].given_up == session.info.given_up
    assert pool.client.states()["model"] == "ready"


def test_later_workers_of_the_model_give_up_the_same_at_once(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    pool = Pool(tmp_path)
    try:
        config = echo("model", "load_signal:SIGILL")
        pool.session(config)
        (first,) = pool.workers()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: pool.workers() not in ([], [first]), 5, "another worker")
        assert whole(ask(pool.session(config), "on"))[0] == "on"
    finally:
        pool.close()
    log = capfd.readouterr().err
    assert log.count("killed by SIGILL while loading; loading it again without optional speed-ups") == 1
    assert log.count("loading model model with") == 3


def test_an_explained_failure_and_a_kill_are_not_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    pool = Pool(tmp_path)
    try:
        for name, option in (("bad", "load_error:broken"), ("killed", "load_signal:SIGKILL")):
            with pytest.raises(ApiError):
                pool.session(echo(name, option))
    finally:
        pool.close()
    assert capfd.readouterr().err.count("loading model") == 2


def test_where_nothing_helps_the_sentence_says_so(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    pool = Pool(tmp_path)
    try:
        with pytest.raises(ApiError, match="SIGILL") as caught:
            pool.session(echo("model", "fatal_signal:SIGILL"))
        assert pool.client.states()["model"] == "failed"
    finally:
        pool.close()
    message = str(caught.value)
    assert "also without optional speed-ups" in message
    assert "localai-flask doctor" in message and "reinstall" not in message
    assert capfd.readouterr().err.count("loading model") == 2
