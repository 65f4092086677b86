"""Readiness of models with several workers: each of them is asked."""

from __future__ import annotations

from typing import Any

import pytest

from localai_flask.errors import Unavailable
from localai_flask.pool.channel import ChannelGone
from localai_flask.pool.client.inbox import Inbox
from localai_flask.pool.client.pool_client import PoolClient
from localai_flask.pool.messages import Ping, Pong
from localai_flask.pool.protocol import ModelStatus, WorkerAddress


class Pool:
    """A directory and links to workers, of which those that are named do not answer, or are gone."""

    age_s = 0.0

    def __init__(self, deaf: str = "", gone: str = "", *, is_known_later: bool = False):
        """`is_known_later`: the manager's next answer has the worker no more that is gone."""
        self.asked: list[str] = []
        self.answers = 1
        self._deaf, self._gone, self._is_known_later = deaf, gone, is_known_later

    def statuses(self) -> dict[str, ModelStatus]:
        left = self._gone if self._is_known_later and self.answers > 1 else ""
        workers = [WorkerAddress(name, name, 1) for name in ("one", "two") if name != left]
        other = [WorkerAddress("three", "three", 1)]
        idle = ModelStatus(name="idle", state="ready", workers=[WorkerAddress("four", "four", 1)])
        return {
            "a": ModelStatus(name="twin", state="ready", required=True, workers=workers),
            "b": ModelStatus(name="single", state="ready", required=True, workers=other),
            "c": idle,
        }

    def await_answer(self, timeout_s: float) -> None:
        if timeout_s > 0:
            self.answers += 1

    def to(self, worker: WorkerAddress) -> Any:
        if worker.worker_id == self._gone:
            raise ChannelGone("gone")
        self._next = worker.worker_id
        return self

    def send(self, command: Ping, inbox: Inbox, tag: int) -> int:
        self.asked.append(self._next)
        if self._next != self._deaf:
            inbox.put(tag, Pong(0.0, 0, 0))
        return tag


def check(monkeypatch: pytest.MonkeyPatch, pool: Pool) -> None:
    client = PoolClient(None)  # type: ignore[arg-type]
    monkeypatch.setattr(client, "_started", lambda: (pool, pool))
    client.check(0.05)


def test_every_worker_of_every_required_model_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    check(monkeypatch, pool)
    assert pool.asked == ["one", "two", "three"]


@pytest.mark.parametrize("worker", ["one", "two"])
def test_one_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch, worker: str) -> None:
    with pytest.raises(Unavailable, match="twin does not answer"):
        check(monkeypatch, Pool(deaf=worker))
    with pytest.raises(Unavailable, match="twin has just ended"):
        check(monkeypatch, Pool(gone=worker))


def test_one_that_has_left_on_purpose_meanwhile_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(gone="one", is_known_later=True)
    check(monkeypatch, pool)
    assert pool.asked == ["two", "three"]
