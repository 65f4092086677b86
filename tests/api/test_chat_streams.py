"""Chat streams that outlive their clients: begun by a header, told by the background process, read again by offset."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from localai_flask.api import current
from localai_flask.api.streams.kept_streams import HEADER, PATH
from localai_flask.atomic_file import replace_text
from localai_flask.background.runner import Runner
from localai_flask.errors import QueueFull
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from localai_flask.metrics.in_flight import Question
from localai_flask.pool import runtime
from localai_flask.store.responses import retention
from localai_flask.store.tables import responses
from tests.api.fakes import FakePool, chunks, says
from tests.support.processes import wait_for

MINE, OTHERS, CONVERSATION = "mine", "others", "c-1"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    entries = {MINE: Entry(digest(MINE), max_requests=1), OTHERS: Entry(digest(OTHERS))}
    replace_text(file, key_file.render(entries))
    return {**settings, "api_keys_file": str(file)}


@pytest.fixture
def background(app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The background process, as a thread."""
    monkeypatch.setenv(runtime.ENV, str(tmp_path))
    stopping = threading.Event()
    runner = threading.Thread(
        target=Runner(app, runtime.Runtime(tmp_path).server_name).run, args=(stopping, 1.0, lambda: True)
    )
    runner.start()
    yield
    stopping.set()
    runner.join()


class Caller:
    def __init__(self, client: FlaskClient, key: str = MINE):
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}"}

    def begin(self, conversation: str = CONVERSATION, path: str = PATH, environ: Any = None, **more: Any) -> Any:
        headers = {**self._headers, HEADER: conversation}
        return self._client.post(path, json={**BODY, **more}, headers=headers, environ_overrides=environ)

    def resume(self, conversation: str = CONVERSATION, begin: Any = 0, environ: Any = None) -> Any:
        query = {"conv_id": conversation, "from": begin}
        return self._client.get("/v1/stream", query_string=query, headers=self._headers, environ_overrides=environ)

    def delete(self, conversation: str = CONVERSATION) -> Any:
        return self._client.delete("/v1/stream", query_string={"conv_id": conversation}, headers=self._headers)

    def look_up(self, *conversations: str) -> list[Any]:
        body = {"conversation_ids": conversations}
        found: list[Any] = self._client.post("/v1/streams/lookup", json=body, headers=self._headers).json
        return found

    def get(self, path: str) -> int:
        return self._client.get(path, headers=self._headers).status_code


@pytest.fixture
def mine(client: FlaskClient) -> Caller:
    return Caller(client)


@pytest.fixture
def others(client: FlaskClient) -> Caller:
    return Caller(client, OTHERS)


def text_of(response: Any) -> str:
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks(response))


def silence() -> None:
    """What a model says that is not asked to hurry."""


@pytest.mark.usefixtures("background")
class TestStreams:
    def test_what_was_streamed_is_streamed_again(self, pool: FakePool, mine: Caller) -> None:
        pool.scripts = [says("one", " two", " ü")]
        first = mine.begin()
        assert first.status_code == 200 and first.mimetype == "text/event-stream"
        assert text_of(first) == "one two ü"
        for begin in (0, 1, 100, len(first.data) - 1, len(first.data), len(first.data) + 5):
            with contextlib.closing(mine.resume(begin=begin)) as again:
                assert again.data == first.data[begin:] and again.mimetype == "text/event-stream"

    @pytest.mark.parametrize("header", ["naïve", "naïve".encode().decode("latin-1")], ids=["a browser's", "UTF-8"])
    def test_an_id_may_have_letters_of_all_kinds(self, pool: FakePool, mine: Caller, header: str) -> None:
        pool.scripts = [says("one")]
        assert text_of(mine.begin(header)) == "one"
        assert [each["conversation_id"] for each in mine.look_up("naïve")] == ["naïve"]
        assert text_of(mine.resume("naïve")) == "one"

    def test_it_is_a_plain_stream_that_somebody_waits_for(self, pool: FakePool, mine: Caller) -> None:
        pool.scripts = [says("one")]
        begun = mine.begin(stream_options={"include_usage": True}, max_tokens=7, priority=3)
        assert chunks(begun)[-1]["usage"]["completion_tokens"] == 1
        assert pool.sampling.max_tokens == 7 and "X-Tools-Left-Out" not in begun.headers
        assert (pool.terms[-1].is_background, pool.terms[-1].priority) == (False, 3)

    def test_the_answers_headers_are_those_of_a_plain_stream(self, pool: FakePool, mine: Caller) -> None:
        pool.scripts = [says("one")]
        assert mine.begin(tools=[{"type": "web_search"}]).headers["X-Tools-Left-Out"] == "web_search"

    def test_an_administrator_cancels_it(self, app: Flask, pool: FakePool, mine: Caller) -> None:
        pool.scripts, pool.on_event = [says(*"word " * 2000)], lambda: time.sleep(0.01)
        begun = mine.begin()
        pieces = iter(begun.response)
        assert b"chat.completion.chunk" in next(pieces)
        id = begun.headers["X-Request-Id"]
        (seen,) = app.extensions["in_flight"].answer(Question(cancel=id)).requests
        assert (seen.model, seen.key, seen.client, seen.stream) == ("tiny", MINE, "127.0.0.1", True)
        assert b"request_cancelled" in b"".join(pieces)
        assert b"request_cancelled" in mine.resume().data
        begun.close()

    @pytest.mark.parametrize("path", ["/v1/engines/second/chat/completions", "/chat/completions?model=second"])
    def test_its_model_may_be_named_elsewhere(self, models: Path, pool: FakePool, mine: Caller, path: str) -> None:
        (models / "second.yaml").write_text("name: second\nbackend: echo\n")
        pool.scripts = [says("one")]
        assert chunks(mine.begin(path=path, model=None))[0]["model"] == "second"

    def test_without_a_stream_the_header_has_no_effect(self, pool: FakePool, mine: Caller) -> None:
        pool.scripts = [says("one")]
        assert mine.begin(stream=False).json["choices"][0]["message"]["content"] == "one"
        assert mine.look_up(CONVERSATION) == []

    def test_it_goes_on_without_its_client(self, pool: FakePool, mine: Caller) -> None:
        may_go_on, script = threading.Event(), says("one", " two")
        calls = iter([silence, silence, lambda: may_go_on.wait(10)])
        pool.scripts, pool.on_event = [script], lambda: next(calls, silence)()
        begun = mine.begin()
        pieces = iter(begun.response)
        seen = b""
        while b"one" not in seen:
            seen += next(pieces)
        begun.close()
        assert [each["is_done"] for each in mine.look_up(CONVERSATION)] == [False]
        may_go_on.set()
        again = mine.resume()
        assert text_of(again) == "one two" and again.data.startswith(seen)
        (state,) = mine.look_up(CONVERSATION)
        assert state["is_done"] and state["total_bytes"] == len(again.data)
        assert state["completed_at"] >= state["started_at"] > 0

    @pytest.mark.parametrize("is_replaced", [False, True])
    def test_it_stops_when_it_is_deleted_or_replaced(self, pool: FakePool, others: Caller, is_replaced: bool) -> None:
        pool.scripts, pool.on_event = [says(*"word " * 2000), says("another")], lambda: time.sleep(0.01)
        begun = others.begin()
        pieces = iter(begun.response)
        assert b"chat.completion.chunk" in next(pieces)
        if is_replaced:
            assert text_of(others.begin()) == "another"
        else:
            assert others.delete().status_code == 204
        assert b"[DONE]" not in b"".join(pieces), "it ends where it was"
        wait_for(lambda: pool.open == 0, 10, "the model has stopped")
        again = others.resume()
        assert (again.status_code, again.data.endswith(b"[DONE]\n\n")) == ((200, True) if is_replaced else (404, False))
        begun.close()

    def test_one_that_is_replaced_gives_its_keys_place_up(self, pool: FakePool, mine: Caller) -> None:
        """Its key may have one request at once."""
        pool.scripts, pool.on_event = [says(*"word " * 2000), says("another")], lambda: time.sleep(0.5)
        begun = mine.begin()
        assert b"chat.completion.chunk" in next(iter(begun.response))
        assert text_of(mine.begin()) == "another"
        begun.close()

    def test_few_may_listen_for_a_key_that_may_have_few_at_work(
        self, pool: FakePool, mine: Caller, others: Caller
    ) -> None:
        """Its key may have one request at once, and two that listen; else it could take all places of the server."""
        pool.scripts, pool.on_event = [says(*"word " * 2000)], lambda: time.sleep(0.05)
        with contextlib.closing(mine.begin()), contextlib.closing(mine.resume()) as second:
            assert second.status_code == 200
            refused = mine.resume()
            assert (refused.status_code, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
            assert "requests that listen" in refused.json["error"]["message"]
            assert others.resume().status_code == 404, "it is asked, and has none"
            second.close()
            mine.resume().close()
        mine.delete()
        wait_for(lambda: pool.open == 0, 10, "it has stopped")

    def test_a_request_that_is_refused_leaves_nothing_behind(self, pool: FakePool, mine: Caller) -> None:
        assert mine.begin(model="absent").json["error"]["code"] == "model_not_found"
        pool.scripts = [[QueueFull(1)]]
        full = mine.begin()
        assert (full.status_code, full.json["error"]["code"]) == (503, "overloaded") and full.headers["Retry-After"]
        assert mine.begin(temperature="hot").status_code == 400
        assert mine.look_up(CONVERSATION) == [] and mine.resume().status_code == 404

    def test_others_are_looked_at_beside_those_that_listen(self, pool: FakePool, mine: Caller) -> None:
        """At the server's door, where a few requests at a time are looked at until a model has them."""
        pool.scripts, settled = [says("one"), says("two")], []
        door = {"gunicorn.socket": SimpleNamespace(admitted=SimpleNamespace(settle=lambda: settled.append(1)))}
        mine.begin(environ=door).close()
        assert settled
        settled.clear()
        mine.resume(environ=door).close()
        assert settled

    def test_each_key_has_its_own(self, pool: FakePool, mine: Caller, others: Caller) -> None:
        pool.scripts = [says("mine"), says("theirs")]
        assert text_of(mine.begin()) == "mine"
        assert others.resume().status_code == 404 and others.look_up(CONVERSATION) == []
        assert others.delete().status_code == 204
        assert text_of(others.begin()) == "theirs"
        assert (text_of(mine.resume()), text_of(others.resume())) == ("mine", "theirs")

    def test_models_of_a_conversation_are_found(self, pool: FakePool, mine: Caller) -> None:
        names = [f"{CONVERSATION}::org/a:Q8_0", f"{CONVERSATION}::b", f"{CONVERSATION}0"]
        pool.scripts = [says("x") for _ in names]
        for name in names:
            mine.begin(name).close()
        found = [each["conversation_id"] for each in mine.look_up(CONVERSATION, "absent", names[0], CONVERSATION)]
        assert found == [names[0], names[1], names[0]]
        assert text_of(mine.resume(names[0])) == "x"

    def test_it_is_forgotten(self, app: Flask, pool: FakePool, mine: Caller) -> None:
        pool.scripts = [says("x")]
        mine.begin()
        with app.app_context():
            settings, database = current.settings(), current.store().database
        assert sum(retention.forget_old(database, settings)) == 0
        assert mine.resume().status_code == 200
        with database.writing() as connection:
            connection.execute(update(responses).values(used_at=responses.c.used_at - settings.stream_ttl - 1))
        assert mine.resume().status_code == 404 and mine.look_up(CONVERSATION) == []
        assert sum(retention.forget_old(database, settings)) == 1

    def test_it_is_no_response(self, app: Flask, pool: FakePool, mine: Caller) -> None:
        pool.scripts = [says("x")]
        mine.begin()
        with app.app_context():
            stream = current.store().streams.kept_by(app.extensions["keys"].find(MINE).keeper).find(CONVERSATION)
        assert stream is not None and mine.get(f"/v1/responses/{stream.run_id}") == 404


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda mine: mine.resume(""), "Name the conversation"),
        (lambda mine: mine.delete(""), "Name the conversation"),
        (lambda mine: mine.resume("c" * 256), "at most 255"),
        (lambda mine: mine.resume("a\0b"), "printable"),
        (lambda mine: mine.begin("c" * 256), "at most 255"),
        (lambda mine: mine.resume(begin=-1), "`from` must be a whole number"),
        (lambda mine: mine.resume(begin="x"), "`from` must be a whole number"),
    ],
)
def test_what_cannot_be_read_is_refused(mine: Caller, ask: Callable[[Caller], Any], said: str) -> None:
    refused = ask(mine)
    assert refused.status_code == 400 and said in json.loads(refused.data)["error"]["message"]


def test_what_was_never_there(mine: Caller) -> None:
    assert mine.delete().status_code == 204
    assert mine.look_up() == [] and mine.look_up(CONVERSATION) == []
    assert "There is no stream of the conversation 'c-1'" in mine.resume().json["error"]["message"]


def ask_in_background(client: FlaskClient, key: str) -> str:
    body = {"model": "tiny", "input": "hello", "background": True}
    id: str = client.post("/v1/responses", json=body, headers={"Authorization": f"Bearer {key}"}).json["id"]
    return id


def status_of(client: FlaskClient, id: str, key: str) -> str:
    found = client.get(f"/v1/responses/{id}", headers={"Authorization": f"Bearer {key}"})
    return str(found.json["status"])


@pytest.mark.usefixtures("background")
class TestBackgroundResponses:
    def test_they_count_for_their_key(self, pool: FakePool, client: FlaskClient) -> None:
        pool.scripts, pool.on_event = [says("one")] * 4, lambda: time.sleep(0.2)
        ids = [ask_in_background(client, MINE) for _ in range(3)]
        theirs = ask_in_background(client, OTHERS)
        wait_for(lambda: status_of(client, theirs, OTHERS) == "completed", 20, "the other key's is made")
        assert status_of(client, ids[-1], MINE) == "queued", "one at a time, as its key may have one"
        wait_for(lambda: all(status_of(client, id, MINE) == "completed" for id in ids), 20, "all are made")
        assert sorted(each.caller for each in pool.terms) == ["key:mine"] * 3 + ["key:others"]
        assert all(each.is_background for each in pool.terms)

    def test_they_wait_while_their_key_has_others_at_work(
        self, app: Flask, pool: FakePool, client: FlaskClient
    ) -> None:
        with app.app_context():
            place = current.key_places().take(MINE, 1)
        pool.scripts = [says("one")]
        id = ask_in_background(client, MINE)
        wait_for(lambda: status_of(client, id, MINE) == "in_progress", 20, "it was claimed")
        time.sleep(0.3)
        assert status_of(client, id, MINE) == "in_progress"
        place.release()
        wait_for(lambda: status_of(client, id, MINE) == "completed", 20, "it is made")

    def test_without_its_key_none_is_made(
        self, settings: dict[str, Any], app: Flask, pool: FakePool, client: FlaskClient
    ) -> None:
        with app.app_context():
            place = current.key_places().take(MINE, 1)
        first, second = (ask_in_background(client, MINE) for _ in range(2))
        wait_for(lambda: status_of(client, first, MINE) == "in_progress", 20, "it was claimed")
        file = Path(settings["api_keys_file"])
        replace_text(file, key_file.render({OTHERS: Entry(digest(OTHERS))}))
        with app.app_context():
            wait_for(lambda: current.keys().find(MINE) is None, 5, "the key is gone")
            runs = current.store().responses.kept_by("key:mine")
            wait_for(lambda: runs.get(second).status == "failed", 20, "it has ended")
        place.release()
        assert not pool.terms or pool.terms[-1].caller == ""
