"""Models in memory as clients see them: LocalAI's endpoints about them, and how long a request has one kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.atomic_file import replace_text
from localai_flask.errors import NoRoom, Unavailable
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from localai_flask.pool.protocol import ModelReport, ModelState, PoolReport, WorkerReport
from tests.api.fakes import FakePool, says

WORKER = WorkerReport(
    pid=7, is_ready=True, is_leaving=False, memory_bytes=100, cpu_s=1.5, up_s=60, running=0, waiting=0, taken=3
)


def worker(**changes: Any) -> WorkerReport:
    return WorkerReport(**{name: getattr(WORKER, name) for name in WORKER.__struct_fields__} | changes)


def report(*workers: WorkerReport, state: ModelState = ModelState.READY, **changes: Any) -> PoolReport:
    facts: dict[str, Any] = {"is_pinned": False, "is_required": False, "need_bytes": 90, "memory_bytes": 100}
    facts |= {"ready_s": 50.0, "idle_s": 10.0, "expires_s": None, "waited_s": None, "error": None} | changes
    model = ModelReport(name="tiny", backend="echo", state=state, workers=list(workers), **facts)
    return PoolReport(models=[model], backends=["echo"], memory_budget=1000, max_models=0)


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_model_is_loaded(client: FlaskClient, pool: FakePool, prefix: str) -> None:
    pool.loading = [0.5, None]
    answer = client.post(f"{prefix}/backend/load", json={"model": "tiny", "keep_alive": "5m"})
    assert (answer.status_code, answer.json) == (200, {"loaded": ["tiny"], "message": "model loaded"})
    assert pool.kept == [300]


def test_a_load_that_fails_says_why(client: FlaskClient, pool: FakePool) -> None:
    pool.loading = [NoRoom("Model tiny needs 7.0 GiB of memory.")]
    answer = client.post("/backend/load", json={"model": "tiny"})
    assert (answer.status_code, answer.json["error"]["code"]) == (507, "no_room")
    assert client.post("/backend/load", json={"model": "no"}).status_code == 404
    assert client.post("/backend/load", json={"model": ""}).status_code == 400
    misspelt = client.post("/backend/load", json={"model": "tiny", "keepalive": "5m"})
    assert misspelt.status_code == 400 and "perhaps `keep_alive` is meant" in misspelt.json["error"]["message"]


def test_a_model_is_unloaded_once_its_workers_have_left(client: FlaskClient, pool: FakePool) -> None:
    pool.reports = [report(worker(is_leaving=True)), report(worker(is_leaving=True)), report()]
    answer = client.post("/backend/shutdown", json={"model": "tiny"})
    assert (answer.status_code, answer.json) == (200, {"message": "model stopped"})
    assert pool.unloaded == [("tiny", False)]
    assert len(pool.reports) == 1, "it was answered before the workers had left"


def test_by_force_if_need_be(client: FlaskClient, pool: FakePool) -> None:
    pool.reports = [report(WORKER), report()]
    assert client.post("/backend/shutdown", json={"model": "tiny", "force": True}).status_code == 200
    assert pool.unloaded == [("tiny", True)]


def test_what_is_not_loaded_cannot_be_unloaded(client: FlaskClient, pool: FakePool) -> None:
    pool.reports = [report()]
    answer = client.post("/backend/shutdown", json={"model": "tiny"})
    assert (answer.status_code, answer.json["error"]["message"]) == (404, "The model 'tiny' is not loaded.")


class TestLongRequests:
    @pytest.fixture
    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings | {"graceful_timeout": 0}

    def test_unloading_does_not_wait_for_ever(self, client: FlaskClient, pool: FakePool) -> None:
        pool.reports = [report(worker(is_leaving=True, running=1))]
        answer = client.post("/backend/shutdown", json={"model": "tiny"})
        assert answer.status_code == 202
        assert "when its requests have ended" in answer.json["message"]


@pytest.mark.parametrize(
    ("known", "state", "total"),
    [
        (report(WORKER, worker(pid=8)), 2, 200),
        (report(worker(running=1)), 1, 100),
        (report(worker(waiting=1)), 1, 100),
        (report(worker(is_ready=False), state=ModelState.LOADING), 1, 100),
        (report(state=ModelState.COOLING), -1, 0),
        (report(state=ModelState.ABSENT), 0, 0),
        (PoolReport(models=[], backends=[], memory_budget=None, max_models=0), 0, 0),
    ],
)
def test_one_model_is_watched(client: FlaskClient, pool: FakePool, known: PoolReport, state: int, total: int) -> None:
    pool.reports = [known]
    for answer in (client.get("/backend/monitor?model=tiny"), client.get("/backend/monitor", json={"model": "tiny"})):
        assert answer.status_code == 200
        assert (answer.json["state"], answer.json["memory"]["total"]) == (state, total)
    assert client.get("/backend/monitor").status_code == 400
    assert client.get("/backend/monitor?model=no").status_code == 404


def test_the_whole_pool_is_described(client: FlaskClient, pool: FakePool) -> None:
    pool.reports = [
        report(WORKER, worker(pid=8, running=2, waiting=1, is_leaving=True, spare_bytes=40), expires_s=290.0)
    ]
    found = client.get("/system").json
    assert found["backends"] == ["echo"]
    assert found["loaded_models"] == [{"id": "tiny", "backend": "echo"}]
    assert found["totals"] == {
        "loaded_models": 1,
        "max_active_backends": None,
        "memory_bytes": 100,
        "memory_budget": 1000,
        "requests_running": 2,
        "requests_waiting": 1,
    }
    [model] = found["models"]
    assert (model["state"], model["idle_for"], model["unloads_in"], model["requests_total"]) == ("ready", 10, 290, 6)
    assert [(each["pid"], each["state"]) for each in model["workers"]] == [(7, "ready"), (8, "unloading")]
    assert [each["memory_spare_bytes"] for each in model["workers"]] == [0, 40]


class TestKeys:
    @pytest.fixture
    def settings(self, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        path = tmp_path_factory.mktemp("keys") / "keys.yaml"
        replace_text(path, key_file.render({"user": Entry(digest("user's"))}))
        return settings | {"api_keys_file": str(path)}

    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", "/backend/load"), ("POST", "/v1/backend/shutdown"), ("GET", "/backend/monitor"), ("GET", "/system")],
    )
    def test_only_administrators_may(self, client: FlaskClient, method: str, path: str) -> None:
        answer = client.open(path, method=method, headers={"Authorization": "Bearer user's"}, json={"model": "tiny"})
        assert (answer.status_code, answer.json["error"]["code"]) == (403, "admin_required")


REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
    "/v1/responses": {"input": "x", "store": False},
    "/v1/embeddings": {"input": "x"},
    "/v1/rerank": {"query": "x", "documents": ["y"]},
}


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize(("said", "seconds"), [("10m", 600), (0, 0), (-1, -1), (None, None)])
def test_every_api_takes_how_long_a_model_is_kept(
    client: FlaskClient, pool: FakePool, path: str, said: Any, seconds: float | None
) -> None:
    pool.info = _able(pool)
    pool.scripts = [says("hi")] if "embed" not in path and "rank" not in path else []
    answer = client.post(path, json={"model": "tiny", "keep_alive": said, **REQUESTS[path]})
    assert answer.status_code == 200, answer.text
    assert pool.kept == [seconds]


@pytest.mark.parametrize("path", REQUESTS)
def test_what_is_no_time_is_refused_in_every_api(client: FlaskClient, pool: FakePool, path: str) -> None:
    answer = client.post(path, json={"model": "tiny", "keep_alive": "long", **REQUESTS[path]})
    assert answer.status_code == 400
    assert "`keep_alive` must be seconds or a duration" in answer.text


def test_a_manager_that_is_away_is_a_503(client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("The pool manager does not answer.")

    monkeypatch.setattr(FakePool, "report", fail)
    assert client.get("/system").status_code == 503


def _able(pool: FakePool) -> Any:
    return msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "embed", "score"}))
