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
