"""Streams that tell how far they are before they answer, to those who ask, in every family."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from localai_flask.api.answer import sse
from localai_flask.api.work.progress import ProgressReports
from localai_flask.chat.answer import Content, Finish
from localai_flask.generation import FinishReason, Progress, Started, Usage
from localai_flask.pool.messages import Queued
from tests.api.fakes import FakePool, says

HELLO = [{"role": "user", "content": "hello"}]
FAMILIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "hello"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
    "/v1/responses": {"input": "hello", "store": False},
}
NAMES = ("load_progress", "queue_place", "prompt_progress")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PATIENCE_S", 0.0)
    monkeypatch.setattr(sse, "PING_S", 0.0)


def told(client: FlaskClient, pool: FakePool, path: str, **more: Any) -> list[dict[str, Any]]:
    """The JSON of all events of a stream that loads, waits, and reads its prompt in three parts."""
    pool.loading = [0.25, 0.5, None]
    started, *rest = says("Hi", prompt_tokens=100, cached=40)
    steps = [Queued(2), Queued(1), started, Progress(60, 100), Progress(60, 100), Progress(90, 100), *rest]
    pool.scripts = [steps]  # type: ignore[list-item]
    response = client.post(path, json={**FAMILIES[path], "stream": True, **more})
    assert response.status_code == 200, response.data
    lines = response.data.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


class Pause:
    """A step of a script that takes its time."""

    def __init__(self, seconds: float):
        self._seconds = seconds

    def __eq__(self, other: object) -> bool:
        time.sleep(self._seconds)
        return False

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("path", list(FAMILIES))
def test_it_tells_loading_place_and_prompt_before_the_text(client: FlaskClient, pool: FakePool, path: str) -> None:
    events = told(client, pool, path, return_progress=True)
    reports = [(name, event[name]) for event in events for name in NAMES if name in event]
    prompts = [report for name, report in reports if name == "prompt_progress"]
    assert [report for name, report in reports if name == "load_progress"] == [0.25, 0.5, 1.0]
    assert [report for name, report in reports if name == "queue_place"] == [2, 1]
    assert [(each["total"], each["cache"], each["processed"]) for each in prompts] == [
        (100, 40, processed) for processed in (40, 60, 90, 100)
    ]
    assert all(isinstance(each["time_ms"], int) for each in prompts)
    text = next(n for n, event in enumerate(events) if "Hi" in json.dumps(event))
    assert all(n < text for n, event in enumerate(events) if any(name in event for name in NAMES))
    kinds = {event.get("type", event.get("object")) for event in events if any(name in event for name in NAMES)}
    assert (
        kinds
        == {
            "/v1/chat/completions": {"chat.completion.chunk"},
            "/v1/completions": {"text_completion"},
            "/v1/messages": {"ping"},
            "/v1/responses": {"response.in_progress"},
        }[path]
    )


@pytest.mark.parametrize("path", list(FAMILIES))
def test_nobody_is_told_who_has_not_asked(client: FlaskClient, pool: FakePool, path: str) -> None:
    events = told(client, pool, path)
    assert not any(name in event for event in events for name in NAMES)
    assert any("Hi" in json.dumps(event) for event in events)


@pytest.mark.parametrize("path", list(FAMILIES))
def test_without_a_stream_it_changes_nothing(client: FlaskClient, pool: FakePool, path: str) -> None:
    pool.scripts = [[Queued(1), *says("Hi")]]  # type: ignore[list-item]
    response = client.post(path, json={**FAMILIES[path], "return_progress": True})
    assert response.status_code == 200 and "Hi" in response.get_data(as_text=True)


def test_what_was_told_before_the_headers_is_not_lost(
    client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "PATIENCE_S", 0.2)
    pool.scripts = [[Queued(7), *[None] * 5, Pause(0.3), Queued(6), *says("Hi")]]  # type: ignore[list-item]
    asked = {**FAMILIES["/v1/messages"], "stream": True, "return_progress": True}
    assert client.post("/v1/messages", json=asked).data.count(b'"queue_place":7') == 1


def test_a_chunk_is_as_llama_servers(client: FlaskClient, pool: FakePool) -> None:
    asked = {"return_progress": True, "stream_options": {"include_usage": True}}
    chunk = next(each for each in told(client, pool, "/v1/chat/completions", **asked) if "prompt_progress" in each)
    (choice,) = chunk["choices"]
    assert choice["delta"] == {"role": "assistant", "content": None} and choice["finish_reason"] is None
    assert chunk["usage"] is None and chunk["id"].startswith("chatcmpl-")


def test_each_answer_of_several_tells_its_own_prompt() -> None:
    reports = ProgressReports(clock=lambda: 5.0)
    items: list[Any] = [(0, Started(10, 4)), (1, Started(10, 0)), (1, Progress(5, 10)), (0, Content("a"))]
    items += [(1, Finish(FinishReason.EOS, Usage(10, 0))), (0, Content("b"))]
    seen = [(index, each["prompt_progress"]["processed"]) for item in items for index, each in reports.feed(item)]
    assert seen == [(0, 4), (1, 0), (1, 5), (0, 10), (1, 10)]
