"""Places of the web worker and of keys, and which requests need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.api.door import admission, auth, places
from localai_flask.api.door.key_places import KeyPlaces
from localai_flask.api.door.places import TAKES_PLACE, Places
from localai_flask.errors import Overloaded, TooManyRequests
from localai_flask.keys.key import Key
from tests.api.fakes import FakePool

NEED_NONE = {
    *("createConversation", "updateConversation", "createConversationItems"),
    *("lookupStreams", "createFile", "createBatch", "cancelBatch", "createMessageBatch", "cancelMessageBatch"),
    *("clearLog", "cancelRequest", "cancelResponse", "unloadModel", "unloadAdapter", "scaleAdapters"),
    *("controlChatCompletion", "runServerTool"),
    *(
        "installModel",
        "importModel",
        "importConfiguration",
        "editModel",
        "checkModelYaml",
        "deleteModel",
        "reloadModels",
        "cancelJob",
    ),
    *("startLoading", "startUnloading", "downloadModel", "checkModelYaml"),
    *("ollamaShow", "ollamaPull", "ollamaCopy", "ollamaCreate", "ollamaPush", "ollamaBlob"),
}
"""Posts that wait for no model."""


def test_every_post_that_works_on_a_model_needs_a_place(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        if "POST" not in (rule.methods or ()):
            continue
        view = app.view_functions[rule.endpoint]
        name = getattr(view, "_apidoc", {}).get("manual_doc", {}).get("operationId", rule.endpoint)
        assert getattr(view, TAKES_PLACE, False) != (name in NEED_NONE), (
            f"mark {rule.rule} with `takes_place`, or name {name} above"
        )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_wait_told_is_that_until_a_place_is_free() -> None:
    clock = Clock()
    places = Places(2, clock)
    for _ in range(2):
        taken = [places.take(), places.take()]
        with pytest.raises(Overloaded) as refused:
            places.take()
        clock.now += 30
        for place in taken:
            place.release()
            place.release()
    assert refused.value.info.retry_after == 15
    assert places.try_take() is not None


def test_a_place_is_given_back_where_the_keys_cannot_be_counted(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "key", lambda: Key("a", max_requests=1))
    app.extensions["places"] = Places(1)
    with app.test_request_context():
        app.extensions["key_places"] = lambda: KeyPlaces(tmp_path / "absent")
        with pytest.raises(FileNotFoundError):
            places.take_place()
        app.extensions["key_places"] = lambda: KeyPlaces(tmp_path)
        place = places.take_place()
        place.release()
        place.release()
        places.take_place().release()


def test_a_keys_places_are_those_of_all_processes(tmp_path: Path) -> None:
    clock = Clock()
    one, other = KeyPlaces(tmp_path, clock), KeyPlaces(tmp_path)  # as two processes have them
    first, second = one.take("a", 3), other.take("a", 3)
    third = one.take("a", 3)
    for counter in (one, other):
        with pytest.raises(TooManyRequests, match="'a' has 3 requests"):
            counter.take("a", 3)
    other.take("b", 1)
    clock.now += 60
    first.release()
    first.release()
    fourth = other.take("a", 3)
    with pytest.raises(TooManyRequests) as refused:
        one.take("a", 3)
    assert refused.value.info.retry_after == 20
    for place in (second, third, fourth):
        place.release()
    assert len([one.take("a", 3) for _ in range(3)]) == 3


def test_a_limit_that_is_lowered_holds_at_once(tmp_path: Path) -> None:
    places = KeyPlaces(tmp_path)
    for _ in range(3):
        places.take("a", 3)
    with pytest.raises(TooManyRequests):
        places.take("a", 1)


class Posted:
    """What the door sees of gunicorn's request."""

    method = "POST"

    def __init__(self, path: str, key: str = ""):
        self.path = path
        self.headers = [("HOST", "x"), ("AUTHORIZATION", key)]

    def should_close(self) -> bool:
        return False


class TestDoor:
    @pytest.fixture
    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "http_threads": 3}

    def test_what_a_model_has_refused_is_refused_for_a_moment(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 100.0
        monkeypatch.setattr(admission.time, "monotonic", lambda: now)
        ours = admission.Door(app, lambda: None)
        chat, full = b'{"model": "a", "messages": []}', Overloaded("full", retry_after=7).info
        first = ours.admit(Posted("/v1/chat/completions"), chat, "")
        assert isinstance(first, admission.Admitted) and ours.refuse_late(Posted("/v1/chat/completions"), first) is None
        waiting = ours.admit(Posted("/v1/chat/completions"), chat, "")
        first.overload = full
        ours.leave(first)
        assert isinstance(waiting, admission.Admitted)
        late = ours.refuse_late(Posted("/v1/chat/completions"), waiting)
        assert late is not None and late.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 7\r\n" in late
        assert isinstance(ours.admit(Posted("/v1/chat/completions"), chat, ""), bytes)
        for request, body in (
            (Posted("/v1/chat/completions"), b'{"model": "b"}'),
            (Posted("/v1/chat/completions", "Bearer other"), chat),
            (Posted("/v1/messages"), chat),
            (Posted("/v1/chat/completions"), b"[]"),
        ):
            other = ours.admit(request, body, "")
            assert isinstance(other, admission.Admitted)
            other.release()
        now += admission.FULL_S
        assert isinstance(ours.admit(Posted("/v1/chat/completions"), chat, ""), admission.Admitted)

    def test_a_few_at_a_time_are_looked_at(self, app: Flask) -> None:
        app.extensions["places"] = Places(admission.TURNS + 1)
        turns: list[None] = []
        ours, request = admission.Door(app, lambda: turns.append(None)), Posted("/v1/completions")
        taken = [ours.admit(request, b"{}", "") for _ in range(admission.TURNS + 1)]
        first, *others, last = taken
        assert all(isinstance(each, admission.Admitted) for each in taken)
        assert all(ours.take_turn(each) for each in (first, *others)) and not ours.take_turn(last)
        first.settle()
        first.settle()
        assert len(turns) == 1 and ours.take_turn(last), "a turn is given back once"

    def test_all_that_waits_for_no_model_passes(self, app: Flask) -> None:
        ours, get = admission.Door(app, lambda: None), Posted("/v1/models")
        get.method = "GET"
        assert ours.admit(get, b"", "") is None
        assert ours.admit(Posted("/nowhere"), b"", "") is None


class Socket:
    """A connection whose request was let in."""

    overload: Any = None

    def __init__(self) -> None:
        self.admitted = self
        self.settled = 0

    def settle(self) -> None:
        self.settled += 1


def test_a_request_gives_its_turn_back_when_the_model_has_it(client: FlaskClient, pool: FakePool) -> None:
    hello = {"messages": [{"role": "user", "content": "hello"}]}
    ours = Socket()
    pool.scripts = [[Overloaded("full", retry_after=3)]]
    refused = client.post("/v1/chat/completions", json=hello, environ_overrides={"gunicorn.socket": ours})
    assert refused.status_code == 503 and ours.settled == 1 and ours.overload.message == "full"
    ours = Socket()
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"embed"}))
    asked = client.post("/v1/embeddings", json={"input": "a"}, environ_overrides={"gunicorn.socket": ours})
    assert asked.status_code == 200 and ours.settled == 1 and ours.overload is None
