"""`fallback`: another model answers in place of one that cannot, in every family, as long as nothing was sent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from localai_flask.errors import (
    ApiError,
    InstallationFailed,
    InstallationInterrupted,
    InvalidRequest,
    ModelLoadFailed,
    Overloaded,
    TooManyRequests,
    Unavailable,
    WorkerDied,
    WorkerLeaving,
)
from localai_flask.gallery.errors import DownloadFailed, Offline, SourceUnreachable
from tests.api.fakes import FakePool, chunks, says

HEADER = "X-LocalAI-Fallback"
ASK = {"model": "first", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def models(models: Path) -> Path:
    for name, others in (("first", "[second, third]"), ("second", "[first]"), ("third", "[]")):
        (models / f"{name}.yaml").write_text(f"name: {name}\nbackend: echo\nfallback: {others}\n")
    return models


@pytest.mark.parametrize(
    "error",
    [
        *(Unavailable("gone"), Overloaded("full"), WorkerDied("dead"), WorkerLeaving("going")),
        *(ModelLoadFailed("no engine"), InstallationFailed("no disk"), InstallationInterrupted("no index")),
        *(DownloadFailed("no file"), SourceUnreachable("no network"), Offline("no fetching")),
    ],
    ids=lambda error: error.info.code,
)
def test_a_model_that_cannot_answer_is_answered_for(client: FlaskClient, pool: FakePool, error: ApiError) -> None:
    pool.scripts = [[error], says("from the second")]
    answer = client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 200
    assert answer.headers[HEADER] == answer.json["model"] == "second"
    assert answer.json["choices"][0]["message"]["content"] == "from the second"
    assert [config.name for config in pool.configs] == ["first", "second"]


def test_a_model_that_answers_is_not_marked(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("hello")]
    answer = client.post("/v1/chat/completions", json=ASK)
    assert answer.json["model"] == "first" and HEADER not in answer.headers


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        ("/v1/completions", {"model": "first", "prompt": "a"}, lambda found: found["choices"][0]["text"]),
        ("/v1/messages", {**ASK, "max_tokens": 5}, lambda found: found["content"][0]["text"]),
        ("/v1/responses", {"model": "first", "input": "a"}, lambda found: found["output"][0]["content"][0]["text"]),
    ],
)
def test_every_family_falls_back(client: FlaskClient, pool: FakePool, path: str, body: Any, read: Any) -> None:
    pool.scripts = [[Unavailable("gone")], says("yes")]
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.headers[HEADER], answer.json["model"]) == (200, "second", "second")
    assert read(answer.json) == "yes"


def test_a_stream_falls_back_before_its_first_event_however_long_that_takes(
    client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localai_flask.api.answer.sse.PATIENCE_S", 0.0)
    pool.scripts = [[None, None, Unavailable("gone")], says("a", "b")]
    answer = client.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.headers[HEADER] == "second"
    told = chunks(answer)
    assert {chunk["model"] for chunk in told} == {"second"}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in told) == "ab"


def test_a_stream_that_has_begun_ends_with_its_error(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[*says("a")[:2], Unavailable("gone")]]
    answer = client.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.status_code == 200 and HEADER not in answer.headers
    assert b'"code":"unavailable"' in answer.data
    assert len(pool.configs) == 1


@pytest.mark.parametrize("error", [InvalidRequest("bad"), TooManyRequests("slow down")], ids=["bad", "rate"])
def test_what_is_the_requests_own_is_no_reason(client: FlaskClient, pool: FakePool, error: ApiError) -> None:
    pool.scripts = [[error]]
    assert client.post("/v1/chat/completions", json=ASK).status_code == error.info.status
    assert len(pool.configs) == 1


def test_a_circle_ends_with_what_the_first_model_said(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[Unavailable(f"{name} is gone")] for name in ("first", "second", "third")]
    answer = client.post("/v1/chat/completions", json=ASK)
    assert (answer.status_code, answer.json["error"]["message"]) == (503, "first is gone")
    assert HEADER not in answer.headers
    assert [config.name for config in pool.configs] == ["first", "second", "third"]


def test_a_model_that_is_not_there_or_disabled_is_passed_over(
    client: FlaskClient, pool: FakePool, models: Path
) -> None:
    (models / "off.yaml").write_text("name: off\nbackend: echo\ndisabled: true\n")
    (models / "first.yaml").write_text("name: first\nbackend: echo\nfallback: [nowhere, off, third]\n")
    pool.scripts = [[Unavailable("gone")], says("yes")]
    assert client.post("/v1/chat/completions", json=ASK).headers[HEADER] == "third"


def test_a_key_gets_no_model_that_it_may_not_use(
    settings: dict[str, Any], models: Path, pool: FakePool, tmp_path: Path
) -> None:
    from localai_flask.app import create_app
    from localai_flask.settings import Settings

    key = "guest-key-0123456789"
    file = tmp_path / "keys.yaml"
    file.write_text(f"guest: {{sha256: {hashlib.sha256(key.encode()).hexdigest()}, models: [first, third]}}\n")
    client = create_app(Settings(**settings, api_keys_file=str(file)), pool=pool).test_client()
    pool.scripts = [[Unavailable("gone")], says("yes")]
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.post("/v1/chat/completions", json=ASK, headers=headers)
    assert (answer.status_code, answer.headers.get(HEADER)) == (200, "third")


def test_embeddings_fall_back(client: FlaskClient, pool: FakePool, models: Path) -> None:
    pool.info = pool.info.__class__(
        backend="fake", engine_version="1", context_length=64, capabilities=frozenset({"embed"})
    )
    pool.scripts = [[Unavailable("gone")]]
    answer = client.post("/v1/embeddings", json={"model": "first", "input": "a"})
    assert (answer.status_code, answer.headers[HEADER], answer.json["model"]) == (200, "second", "second")


def test_a_model_cannot_stand_in_for_itself(client: FlaskClient, models: Path) -> None:
    (models / "own.yaml").write_text("name: own\nbackend: echo\nfallback: [own]\n")
    answer = client.post("/v1/chat/completions", json={**ASK, "model": "own"})
    assert answer.status_code == 422
    assert "`fallback` names the model itself" in answer.json["error"]["message"]
