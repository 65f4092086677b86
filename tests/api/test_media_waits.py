"""Documents and images that take long to come, or to be read: what ends a request ends that, too."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.api.work.content import content_bytes, documents
from tests.api.fakes import FakePool, frames
from tests.support.pdfs import pdf

CODED = base64.b64encode(pdf("one")).decode()
ADDRESS = "https://example.com/a"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
COUNTS = ("/v1/chat/completions/render", "/v1/messages/count_tokens", "/v1/responses/input_tokens")


def chat(part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def messages(part: Any) -> dict[str, Any]:
    return {**chat(part), "max_tokens": 9}


def responses(part: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [part]}]}


SOURCE = {"type": "base64", "media_type": "application/pdf", "data": CODED}
DOCUMENTS: dict[str, dict[str, Any]] = {
    CHAT: chat({"type": "file", "file": {"file_data": CODED}}),
    MESSAGES: messages({"type": "document", "source": SOURCE}),
    RESPONSES: responses({"type": "input_file", "file_data": CODED}),
}
IMAGES: dict[str, dict[str, Any]] = {
    CHAT: chat({"type": "image_url", "image_url": {"url": ADDRESS}}),
    MESSAGES: messages({"type": "image", "source": {"type": "url", "url": ADDRESS}}),
    RESPONSES: responses({"type": "input_image", "image_url": ADDRESS}),
}
BODIES = {"document": DOCUMENTS, "image": IMAGES}
CASES = [(kind, path) for kind, bodies in BODIES.items() for path in bodies]


class Slow:
    """Something that never comes; `on_beat` is called while it is waited for."""

    def __init__(self) -> None:
        self.on_beat: Callable[[], object] = lambda: None
        self.given_up = 0

    def __call__(self, *_: object) -> Iterator[None]:
        try:
            while True:
                self.on_beat()
                time.sleep(0.01)
                yield
        finally:
            self.given_up += 1


@pytest.fixture
def slow(pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow, sees = Slow(), frozenset({"generate", "image", "tokenize"})
    pool.info = msgspec.structs.replace(pool.info, capabilities=sees)
    monkeypatch.setattr(documents, "_documents", documents._Kept(documents.MOST_TEXT))
    monkeypatch.setattr(documents, "read_pages", slow)
    monkeypatch.setattr(content_bytes, "run_aside", slow)
    return slow


def body_of(kind: str, path: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", **BODIES[kind][path], **more}


@pytest.mark.parametrize(("kind", "path"), CASES)
def test_the_time_of_a_request_covers_them(client: FlaskClient, slow: Slow, kind: str, path: str) -> None:
    refused = client.post(path, json=body_of(kind, path, timeout=0.1))
    assert refused.status_code == 504 and slow.given_up == 1
    assert "its documents and images were still being fetched or read" in refused.get_json()["error"]["message"]


@pytest.mark.parametrize(("kind", "path"), CASES)
def test_one_that_is_cancelled_gives_them_up(client: FlaskClient, slow: Slow, kind: str, path: str) -> None:
    slow.on_beat = lambda: client.application.test_client().delete("/requests/mine")
    refused = client.post(path, json=body_of(kind, path), headers={"X-Request-Id": "mine"})
    assert refused.status_code == 403 and slow.given_up == 1


def test_a_stream_says_meanwhile_that_it_is_there(client: FlaskClient, slow: Slow) -> None:
    stream = client.post(CHAT, json=body_of("document", CHAT, stream=True), buffered=False)
    pieces = stream.iter_encoded()
    assert [next(pieces), next(pieces)] == [b": ping\n\n"] * 2
    stream.close()
    assert slow.given_up == 1


def test_an_error_that_comes_late_ends_the_stream(client: FlaskClient, slow: Slow) -> None:
    answer = client.post(CHAT, json=body_of("document", CHAT, stream=True, timeout=4))
    *_, last = [frame for frame in frames(answer.data) if frame.startswith("data: {")]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded" and slow.given_up == 1


class TestServersTime:
    @pytest.fixture
    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "request_timeout": 0.1}

    @pytest.mark.parametrize("kind", list(BODIES))
    @pytest.mark.parametrize(("path", "like"), list(zip(COUNTS, DOCUMENTS, strict=True)))
    def test_covers_them_where_tokens_are_counted(
        self, client: FlaskClient, slow: Slow, kind: str, path: str, like: str
    ) -> None:
        assert client.post(path, json=body_of(kind, like)).status_code == 504 and slow.given_up == 1


def test_the_time_of_a_request_covers_them_where_its_prompt_is_shown(client: FlaskClient, slow: Slow) -> None:
    assert client.post(COUNTS[0], json=body_of("document", CHAT, timeout=0.1)).status_code == 504


def test_one_that_waits_for_them_takes_no_turn_from_others(client: FlaskClient, slow: Slow) -> None:
    class Admitted:
        settled = threading.Event()

        def settle(self) -> None:
            self.settled.set()

    admitted: Any = Admitted()
    slow.on_beat = lambda: None
    environ = {"gunicorn.socket": type("Sock", (), {"admitted": admitted})()}
    client.post(CHAT, json=body_of("document", CHAT, timeout=0.1), environ_overrides=environ)
    assert admitted.settled.is_set()
