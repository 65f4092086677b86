"""The door of a web worker: who is refused before anybody has looked at the request."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localai_flask.api.door.admission import Admitted, Door
from localai_flask.app import create_app
from localai_flask.settings import Settings
from tests.api.fakes import FakePool


class RoomyPool(FakePool):
    """Knows how many requests each model takes."""

    rooms: dict[str, int] = {"m": 3}

    def room(self, name: str, queue_size: int) -> int | None:
        return self.rooms.get(name)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    settings = Settings(models_path=tmp_path, database_url=f"sqlite:///{tmp_path}/r.db", offline=True, queue_size=2)
    return Door(create_app(settings, pool=RoomyPool()), lambda: None)


def knock(door: Door, model: str, path: str = "/v1/completions") -> Any:
    request = SimpleNamespace(method="POST", path=path, headers=[("HOST", "x")], should_close=lambda: False)
    return door.admit(request, json.dumps({"model": model, "prompt": "x"}).encode(), "127.0.0.1")


def test_no_more_wait_to_be_looked_at_than_the_model_takes(door: Door) -> None:
    waiting = [knock(door, "m") for _ in range(3)]
    for admitted in waiting:
        assert isinstance(admitted, Admitted)
        door.join_line(admitted)
    for path in ("/v1/completions", "/v1/chat/completions"):
        refused = knock(door, "m", path)
        assert refused.startswith(b"HTTP/1.1 503 ") and b"2 requests already wait for this model" in refused
        assert b"Retry-After: 1\r\n" in refused
    door.leave_line(waiting[0])
    assert isinstance(knock(door, "m"), Admitted)


def test_for_a_model_of_which_nothing_is_known_any_number_may_wait(door: Door) -> None:
    for _ in range(9):
        admitted = knock(door, "other")
        assert isinstance(admitted, Admitted)
        door.join_line(admitted)


def head(method: str, path: str, query: str = "", **headers: str) -> Any:
    """The head of a request as gunicorn has it."""
    named = [(name.upper().replace("_", "-"), value) for name, value in headers.items()]
    return SimpleNamespace(method=method, path=path, query=query, headers=[("HOST", "x"), *named])


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"authorization": "Bearer one"}, "#1"),
        ({"authorization": "bearer  two "}, "#2"),
        ({"authorization": "two"}, "#2"),
        ({"authorization": "Basic two"}, ""),
        ({"authorization": "Bearer of the backend", "x_api_key": "one"}, "#1"),
        ({"api_key": "two"}, "#2"),
        ({"xi_api_key": "three"}, ""),
        ({}, ""),
    ],
)
def test_whose_share_a_request_takes_is_by_the_key_that_lets_it_in(
    tmp_path: Path, headers: dict[str, str], caller: str
) -> None:
    settings = Settings(models_path=tmp_path, database_url=f"sqlite:///{tmp_path}/r.db", api_key=("one", "two"))
    door = Door(create_app(settings, pool=RoomyPool()), lambda: None)
    assert door.caller_of(head("GET", "/v1/files/f/content", **headers)) == caller


@pytest.mark.parametrize(
    ("request_", "megabytes"),
    [
        (head("POST", "/v1/files"), 201),
        (head("POST", "/ai/v1/files/", x_forwarded_prefix="/ai"), 201),
        (head("GET", "/v1/files"), 15),
        (head("POST", "/v1/chat/completions"), 15),
        (head("POST", "/nothing"), 15),
    ],
    ids=["upload", "upload behind a prefix", "list", "chat", "nothing"],
)
def test_only_uploads_may_be_as_large_as_files(door: Door, request_: Any, megabytes: int) -> None:
    assert door.most_bytes(request_) == megabytes * 2**20


def test_what_takes_a_place_when_it_runs_needs_no_share_of_other_threads(door: Door) -> None:
    for request in (
        head("POST", "/v1/chat/completions", origin="http://a.example"),
        head("GET", "/v1/stream", "conv_id=c"),
        head("GET", "/v1/responses/resp_1", "stream=true"),
    ):
        assert door.takes_place_later(request), request.path
    for request in (
        head("GET", "/v1/responses/resp_1"),
        head("GET", "/v1/files/f/content"),
        head("GET", "/nothing"),
    ):
        assert not door.takes_place_later(request), request.path
