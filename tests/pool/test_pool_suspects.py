"""Requests that harm their worker: whom else they may harm, and what is said."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError
from localai_flask.generation import Delta, Prompt
from localai_flask.pool.client import generation as pool_generation
from localai_flask.pool.client.generation import Generation
from localai_flask.pool.messages import Terms
from localai_flask.sampling_params import SamplingParams
from tests.support.pool import Pool, ask, echo, whole
from tests.support.processes import wait_for


def crowd(pool: Pool, config: ModelConfig, count: int = 6) -> list[Generation]:
    """Have requests run beside what is to come, each of which takes a while."""
    session = pool.session(config)
    streams = [ask(session, '{"say": "still here", "pace_ms": 100}') for _ in range(count)]
    for stream in streams:
        assert next(texts_of(stream)) == "s"
    return streams


def texts_of(generation: Generation) -> Iterator[str]:
    return (event[1].text for event in generation.events() if event is not None and isinstance(event[1], Delta))


@pytest.mark.parametrize("how", ["raise", "panic"])
def test_an_exception_at_submission_is_that_requests_own(pool: Pool, how: str) -> None:
    config = echo()
    streams = crowd(pool, config)
    before = pool.workers()
    with pytest.raises(ApiError, match="The engine failed at this request") as caught:
        whole(ask(pool.session(config), f'{{"say": "x", "on_submit": "{how}"}}'))
    assert caught.value.info.status == 500
    assert ["".join(texts_of(stream)) for stream in streams] == ["till here"] * len(streams)
    assert pool.workers() == before
    assert whole(ask(pool.session(config), "fine"))[0] == "fine"


@pytest.mark.parametrize("how", ['"on_submit": "crash"', '"crash_after": 0'])
def test_a_request_that_kills_its_worker_kills_no_second_one(pool: Pool, how: str) -> None:
    config = echo()
    poison = f'{{"say": "x", {how}}}'
    with pytest.raises(ApiError) as caught:
        whole(ask(pool.session(config), poison))
    assert (caught.value.info.status, caught.value.info.code) == (503, "model_worker_died")
    with pytest.raises(ApiError, match="died when it last ran this request alone") as refused:
        whole(ask(pool.session(config), poison))
    assert (refused.value.info.status, refused.value.info.code) == (400, "request_suspected")
    (worker,) = pool.workers()
    with pytest.raises(ApiError, match="died when it last ran"):
        whole(ask(pool.session(config), poison))
    assert pool.workers() == [worker]
    assert whole(ask(pool.session(config), "fine"))[0] == "fine"


def test_a_caller_who_varies_what_kills_the_worker_does_not_take_the_model_from_others(pool: Pool) -> None:
    config, eve, bob = echo(), Terms(caller="eve"), Terms(caller="bob")

    def ask_as(terms: Terms, text: str) -> str:
        prompts = [(Prompt(text), SamplingParams())]
        return whole(pool.session(config).generate(prompts, terms))[0]

    for number in range(4):
        with pytest.raises(ApiError, match="worker ended"):
            ask_as(eve, f'{{"say": "{number}", "crash_after": 0}}')
        assert ask_as(bob, "fine") == "fine"
    with pytest.raises(ApiError, match="has died of several requests of this key") as refused:
        ask_as(eve, "innocent")
    assert (refused.value.info.status, refused.value.info.code) == (503, "caller_suspended")
    assert ask_as(bob, "fine") == "fine"


def test_a_worker_that_is_killed_from_outside_blames_its_request_the_third_time(pool: Pool) -> None:
    config = echo()
    text = '{"say": "x", "kill_after": 0}'
    for _ in range(3):
        with pytest.raises(ApiError, match="ended while it ran this request"):
            whole(ask(pool.session(config), text))
    with pytest.raises(ApiError, match="died when it last ran"):
        whole(ask(pool.session(config), text))


def test_replicas_hear_of_a_suspect(pool: Pool) -> None:
    config = echo(replicas=2)
    wait_for(lambda: pool.session(config) and len(pool.workers()) == 2, 10, "two workers")
    poison = '{"say": "x", "on_submit": "crash"}'
    with pytest.raises(ApiError, match="worker"):
        whole(ask(pool.session(config), poison))
    time.sleep(6)  # several heartbeats, also on a busy machine
    survivors = set(pool.workers())
    for _ in range(4):
        with pytest.raises(ApiError, match="died when it last ran"):
            whole(ask(pool.session(config), poison))
    assert survivors <= set(pool.workers())


def test_requests_that_wait_move_when_their_worker_dies_and_the_one_in_hand_does_not(pool: Pool) -> None:
    session = pool.session(echo("narrow", "slots:1"))
    running = ask(session, '{"say": "abc", "pace_ms": 300}')
    assert next(texts_of(running)) == "a"
    waiting = [ask(session, f"<{number}>") for number in range(3)]
    time.sleep(0.5)
    (worker,) = pool.workers()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(ApiError, match="ended while it ran this request"):
        whole(running)
    assert [whole(each)[0] for each in waiting] == ["<0>", "<1>", "<2>"]


def test_an_engine_that_hangs_is_replaced_wherever_it_hangs(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_ENGINE_STALL_TIMEOUT="1")
    try:
        for how in ('"on_submit": "block"', '"block_after": 0'):
            config = echo("model" + str(len(how)))
            generation = ask(pool.session(config), f'{{"say": "x", {how}}}')
            with pytest.raises(ApiError) as caught:
                whole(generation)
            assert caught.value.info.code == "model_worker_died"
            assert whole(ask(pool.session(config), "fine"))[0] == "fine"
    finally:
        pool.close()


def test_a_failed_load_says_when_the_next_try_is(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_MODEL_LOAD_FAILURE_COOLDOWN="20")
    try:
        with pytest.raises(ApiError) as caught:
            pool.session(echo("model", "fatal_signal:SIGKILL"))
        assert 15 < (caught.value.info.retry_after or 0) <= 20
    finally:
        pool.close()


def test_a_worker_that_says_nothing_is_given_up_also_without_a_manager(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_generation, "PING_S", 0.3)
    monkeypatch.setattr(pool_generation, "SILENCE_S", 2.0)
    session = pool.session(echo())
    patient = ask(session, '{"say": "x", "prefill_ms": 3000}')
    assert whole(patient)[0] == "x", "a worker that answers pings is not silent"
    (worker,) = pool.workers()
    generation = ask(session, '{"say": "ab", "stall_after": 1}')
    assert next(texts_of(generation)) == "a"
    for pid in (pool.manager.pid, worker):
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ApiError, match="does not answer"):
            whole(generation)
    finally:
        for pid in (pool.manager.pid, worker):
            os.kill(pid, signal.SIGCONT)


def test_a_load_that_holds_the_interpreters_lock_is_let_end(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_WORKER_SILENCE_TIMEOUT="1")
    try:
        assert whole(ask(pool.session(echo("deaf", "load_deaf_seconds:4")), "on"))[0] == "on"
    finally:
        pool.close()


def test_a_manager_that_stood_still_kills_no_worker_when_it_wakes(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_WORKER_SILENCE_TIMEOUT="2")
    try:
        session = pool.session(echo())
        workers = pool.workers()
        os.kill(pool.manager.pid, signal.SIGSTOP)
        time.sleep(4)
        os.kill(pool.manager.pid, signal.SIGCONT)
        time.sleep(1.5)
        assert pool.workers() == workers
        assert whole(ask(session, "on"))[0] == "on"
    finally:
        pool.close()
