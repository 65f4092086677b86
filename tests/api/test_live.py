"""Pictures of the server: what is in them, who gets them, and how their stream ends."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.api.answer import sse
from localai_flask.api.live import listeners, pictures, routes
from localai_flask.api.llama_server import events
from localai_flask.api.work import watch
from localai_flask.errors import Unavailable
from localai_flask.gallery.jobs import JobProgress, encode_progress
from tests.api.fakes import FakePool, says
from tests.api.test_galleries import applied, stored
from tests.api.test_metrics import BODIES, CHAT
from tests.api.test_models_in_memory import report, worker

__all__ = ["stored"]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "LOOK_S", 0.0)
    monkeypatch.setattr(pictures, "BUSY_S", 0.0)
    monkeypatch.setattr(pictures, "IDLE_S", 0.0)


def watched(client: FlaskClient) -> Iterator[dict[str, Any]]:
    stream = client.get("/api/events", buffered=False)
    assert stream.status_code == 200, stream.data
    try:
        for frame in stream.response:
            head, _, data = frame.decode().partition("\ndata: ")
            if head == "event: picture":
                yield json.loads(data)
    finally:
        stream.close()


def test_what_happens_is_in_the_next_picture(client: FlaskClient, pool: FakePool) -> None:
    pool.reports = [report(worker(pid=7, running=1, kv_usage=0.25))]
    seen = watched(client)
    first = next(seen)
    assert first["requests"] == [] and first["failures"] == [] and first["counted"] == {}
    assert first["system"]["models"][0]["workers"][0]["kv_cache_usage"] == 0.25
    assert 0 < first["machine"]["memory_available"] <= first["machine"]["memory_total"]

    pool.scripts = [says("a", "b", "c")]
    running = client.post(CHAT, json={**BODIES[CHAT], "stream": True}, headers={"X-Request-Id": "it"}, buffered=False)
    frames = running.iter_encoded()
    assert any(b'"a"' in frame for frame in frames)
    picture = next(seen)
    [request] = picture["requests"]
    assert (request["id"], request["model"]) == ("it", "tiny")
    assert picture["states"] == {request["state"]: 1}
    assert client.delete("/requests/it").status_code == 200
    list(frames)
    running.close()
    with client.post(CHAT, json={**BODIES[CHAT], "model": "nothing"}) as refused:
        assert refused.status_code == 404
    pool.unready = Unavailable("it is loading")
    with client.get("/readyz") as probe:
        assert probe.status_code == 503

    after = next(seen)
    assert after["requests"] == []
    assert [(each["code"], each["route"]) for each in after["failures"]] == [
        ("request_cancelled", CHAT),
        ("model_not_found", CHAT),
    ]
    counted = after["counted"]["tiny"]
    assert counted["first_tokens"] == 1 and counted["generated_tokens"] >= 1 and counted["ended"]["abort"] == 1
    seen.close()


def test_a_download_is_in_it_until_some_time_after_its_end(
    client: FlaskClient, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = applied(client, id="smollm2-135m-instruct")
    stored.claim("me/1")
    stored.record_progress("me/1", id, encode_progress(JobProgress("downloading", "one", "f.gguf", 1, 4)))
    seen = watched(client)
    job = next(seen)["jobs"][0]
    assert (job["uuid"], job["progress"], job["processed"]) == (id, 25.0, False)
    stored.end("me/1", id, "failed", error="no network")
    job = next(seen)["jobs"][0]
    assert job["processed"] and job["error"] == "no network"
    monkeypatch.setattr("localai_flask.api.live.picture.SHOWN_JOB_S", -1.0)
    assert next(seen)["jobs"] == []
    seen.close()


def test_those_who_watch_share_a_picture_as_long_as_it_is_good(
    client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "IDLE_S", 3600.0)
    pool.reports = [report(worker(pid=1)), report(worker(pid=2))]
    one, other = watched(client), watched(client)
    assert next(one) == next(other)
    one.close()
    other.close()


class TestWithoutDatabase:
    @pytest.fixture
    def settings(self, models: Path) -> dict[str, Any]:
        return {"models_path": models}

    def test_who_only_looks_makes_none(
        self, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        seen = watched(client)
        assert next(seen)["jobs"] == []
        seen.close()
        assert not (tmp_path / "state").exists()


def test_without_a_manager_there_is_a_picture_all_the_same(client: FlaskClient, pool: FakePool) -> None:
    def away() -> Any:
        raise Unavailable("away")

    pool.report = away  # type: ignore[method-assign]
    seen = watched(client)
    assert next(seen)["system"] is None
    seen.close()


def test_it_ends_when_the_server_stops(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(app.test_client())
    next(seen)
    monkeypatch.setattr(watch, "_drain_deadline", math.inf)
    assert list(seen) == []


def test_as_many_watch_as_there_is_room_for(client: FlaskClient) -> None:
    streams = [client.get("/api/events", buffered=False) for _ in range(listeners.MOST_LISTENERS)]
    refused = client.get("/api/events")
    assert refused.status_code == 503 and "Retry-After" in refused.headers
    assert client.get("/models/sse").status_code == 503
    for stream in streams:
        stream.close()
    seen = watched(client)
    next(seen)
    seen.close()


@pytest.mark.parametrize("path", ["/api/events", "/models/sse"])
@pytest.mark.parametrize("broken", ["watch", "response"])
def test_who_cannot_be_served_takes_no_room(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str, broken: str
) -> None:
    monkeypatch.setattr(listeners, "_listeners", threading.BoundedSemaphore(1))

    def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("no descriptors are left")

    with monkeypatch.context() as patch:
        if broken == "watch":
            patch.setattr(routes, "Watch", fail)
            patch.setattr(events, "Watch", fail)
        else:
            patch.setattr(sse, "Response", fail)
        assert client.get(path).status_code == 503
    stream = client.get(path, buffered=False)
    assert stream.status_code == 200
    stream.close()
