"""The line in front of a real worker, with requests of several web workers and callers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from localai_flask.errors import ApiError, ErrorInfo
from localai_flask.generation import Delta, Prompt
from localai_flask.pool.client.generation import Generation
from localai_flask.pool.client.pool_client import PoolClient
from localai_flask.pool.client.session import Session
from localai_flask.pool.messages import Queued, Terms
from localai_flask.sampling_params import SamplingParams
from tests.support.pool import Pool, ask, echo, texts, whole


def run(session: Session, say: str, terms: Terms, **fields: object) -> Generation:
    return session.generate([(Prompt(json.dumps({"say": say, **fields})), SamplingParams())], terms)


def blocked(pool: Pool, session: Session) -> Generation:
    """Have a request hold the only place until it is closed."""
    generation = ask(session, json.dumps({"say": "abc", "stall_after": 1}))
    assert any(isinstance(event[1], Delta) for event in generation.events() if event is not None)
    return generation


def refuse_round(taken: dict[Generation, Any], refused: list[ErrorInfo]) -> None:
    """Listen to each for a moment, and sort out those that are refused."""
    for generation, events in list(taken.items()):
        try:
            next(events)
        except ApiError as error:
            refused.append(error.info)
            del taken[generation]


def order_of_ends(generations: dict[str, Generation]) -> list[str]:
    """Let all run, and return their names in the order in which they ended."""
    ended: list[str] = []

    def follow(name: str) -> None:
        whole(generations[name])
        ended.append(name)

    threads = [threading.Thread(target=follow, args=(name,)) for name in generations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return ended


@pytest.fixture
def narrow(pool: Pool) -> Session:
    return pool.session(echo("narrow", "slots:1"))


def test_a_callers_many_do_not_delay_anothers_one(pool: Pool, narrow: Session) -> None:
    first = blocked(pool, narrow)
    waiting = {f"many {n}": run(narrow, "x" * 10, Terms(caller="many"), pace_ms=10) for n in range(12)}
    waiting["one"] = run(narrow, "x", Terms(caller="one"))
    time.sleep(0.3)
    first.close()
    assert order_of_ends(waiting).index("one") <= 1


def test_the_urgent_go_first_and_background_runs_last(pool: Pool, narrow: Session) -> None:
    first = blocked(pool, narrow)
    terms = {
        "background": Terms(is_background=True, priority=-9),
        "patient": Terms(priority=5),
        "usual": Terms(),
        "urgent": Terms(priority=-1),
    }
    waiting = {name: run(narrow, "x" * 10, each, pace_ms=10) for name, each in terms.items()}
    time.sleep(0.3)
    first.close()
    assert order_of_ends(waiting) == ["urgent", "usual", "patient", "background"]


def test_exactly_the_promised_number_is_taken_of_all_web_workers_together(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_QUEUE_SIZE="16")
    try:
        config = echo("four", "slots:4")
        pool.session(config)
        clients = [pool.client, PoolClient(pool.runtime)]
        sessions = []
        for client in clients:
            sessions.append(client.session(config))
            list(sessions[-1].wait_ready())
        script = json.dumps({"say": "abc", "stall_after": 1})
        taken = {(each := ask(sessions[n % 2], script)): each.events(0.01) for n in range(200)}
        refused: list[ErrorInfo] = []
        for _ in range(100):
            is_last_round = len(refused) >= 180
            refuse_round(taken, refused)
            if is_last_round:
                break
        assert len(taken) == 4 + 16
        assert {(info.status, info.code) for info in refused} == {(503, "overloaded")}
        assert all(info.retry_after and info.retry_after >= 1 for info in refused)
        for generation in taken:
            generation.close()
        assert whole(ask(sessions[0], "free"))[0] == "free"
    finally:
        pool.close()


def test_a_request_of_many_sequences_takes_no_more_places_than_it_says(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_QUEUE_SIZE="2")
    try:
        session = pool.session(echo("one", "slots:1"))
        many = [(Prompt(json.dumps({"say": f"{number}"})), SamplingParams()) for number in range(30)]
        generation = session.generate(many, at_once=2)
        said = [""] * len(many)
        for event in generation.events():
            if event is not None and isinstance(event[1], Delta):
                said[event[0]] += event[1].text
        assert said == [f"{number}" for number in range(30)]
        with pytest.raises(ApiError) as full:
            whole(session.generate(many))
        assert full.value.info.code == "overloaded"
        closed = session.generate(many, at_once=2)
        next(closed.events())
        closed.close()
        assert whole(ask(session, "free"))[0] == "free"
    finally:
        pool.close()


def test_a_deadline_holds_in_the_line_and_is_told_apart(pool: Pool, narrow: Session) -> None:
    first = blocked(pool, narrow)
    begun = time.monotonic()
    with pytest.raises(ApiError, match="it still waited for its turn") as waited:
        whole(run(narrow, "x", Terms(timeout_s=0.3)))
    assert waited.value.info.status == 504 and time.monotonic() - begun < 3
    first.close()
    with pytest.raises(ApiError, match="when 2 tokens were generated"):
        whole(run(narrow, "abc", Terms(timeout_s=0.3), stall_after=2))
    with pytest.raises(ApiError, match="its prompt was being processed"):
        whole(run(narrow, "abc", Terms(timeout_s=0.3), prefill_ms=9000))
    assert "".join(texts(ask(narrow, "on"))) == "on"


def test_who_asks_hears_the_place_in_the_line(pool: Pool, narrow: Session) -> None:
    first = blocked(pool, narrow)
    others = [run(narrow, "x", Terms()) for _ in range(2)]
    told = run(narrow, "x", Terms(tells_place=True))
    places = []
    for event in told.events(0.5):
        if event is not None and isinstance(event[1], Queued):
            places.append(event[1].place)
            others[0].close()
        if len(places) == 2:
            break
    assert places == [3, 2]
    for generation in (told, first, *others):
        generation.close()
