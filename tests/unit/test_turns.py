"""Requests in line to be looked at: each gets its turn, a refusal, or a thread without a turn after a while."""

from __future__ import annotations

import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from localai_flask.server.web.web_worker import HOLD_S, TURN_S, Worker


class Door:
    """Has some turns to give, and refuses some requests."""

    def __init__(self, turns: int, full: set[str]):
        self.turns, self.full = turns, full
        self.left: list[Any] = []

    def refuse_late(self, request: Any, admitted: Any) -> bytes | None:
        return b"503" if request.path in self.full else None

    def leave_line(self, admitted: Any) -> None:
        self.left.append(admitted)

    def take_turn(self, admitted: Any) -> bool:
        self.turns -= 1
        return self.turns >= 0


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    worker: Any = Worker.__new__(Worker)
    worker.tpool, worker._patience_s, worker.seen = None, 1.0, []
    worker._are_more_coming = False
    monkeypatch.setattr(worker, "_submit", lambda conn, *_: worker.seen.append(("thread", conn.name)))
    monkeypatch.setattr(worker, "_await_request", lambda conn: worker.seen.append(("waits", conn.name)))
    monkeypatch.setattr(
        worker, "_answer_at_door", lambda conn, answer: worker.seen.append((answer, conn.name)) or not conn.closes
    )
    return worker


def conn(name: str, waited_s: float = 0.0, closes: bool = False) -> Any:
    return SimpleNamespace(
        name=name,
        closes=closes,
        deadline=time.monotonic() + TURN_S - waited_s,
        arrival=SimpleNamespace(request=SimpleNamespace(path=name)),
        sock=SimpleNamespace(admitted=SimpleNamespace(release=lambda: None)),
    )


def test_in_order_and_as_many_as_there_are_turns(worker: Any) -> None:
    worker._line, worker._door = deque([conn("a"), conn("full"), conn("b"), conn("c")]), Door(2, {"full"})
    worker._advance_line()
    assert worker.seen == [("thread", "a"), (b"503", "full"), ("waits", "full"), ("thread", "b")]
    assert [each.name for each in worker._line] == ["c"] and len(worker._door.left) == 3


def test_a_refusal_that_ends_the_connection(worker: Any) -> None:
    refused = conn("full", closes=True)
    worker._line, worker._door = deque([refused]), Door(0, {"full"})
    worker._advance_line()
    assert worker.seen == [(b"503", "full")] and not worker._line and refused.sock.admitted is None


def test_nobody_waits_for_long(worker: Any) -> None:
    worker._line, worker._door = deque([conn("old", waited_s=TURN_S), conn("new")]), Door(0, set())
    worker._advance_line()
    assert worker.seen == [("thread", "old")] and [each.name for each in worker._line] == ["new"]


def test_while_more_arrive_nobody_gets_a_thread_but_who_has_waited(worker: Any) -> None:
    worker._line, worker._door = deque([conn("old", waited_s=HOLD_S), conn("new")]), Door(2, set())
    worker._are_more_coming = True
    worker._advance_line()
    assert worker.seen == [("thread", "old")]
    worker._are_more_coming = False
    worker._advance_line()
    assert worker.seen[-1] == ("thread", "new")
