"""What requests of each family leave behind, however they end: counts, and one line each."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import parser

from localai_flask.app import create_app
from localai_flask.errors import ContextOverflow, InvalidRequest, Overloaded, WorkerDied
from localai_flask.generation import Delta, FinishReason, Started
from localai_flask.metrics.request_record import Phases
from localai_flask.settings import Settings
from tests.api.fakes import FakePool, says

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
FAMILY = {CHAT: "openai", MESSAGES: "anthropic", RESPONSES: "responses"}
TALK = {"model": "tiny", "messages": [{"role": "user", "content": "a secret"}]}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: TALK,
    MESSAGES: {**TALK, "max_tokens": 100},
    RESPONSES: {"model": "tiny", "input": "a secret"},
}
WELL = [
    (says("a", "b", prompt_tokens=7, cached=3), "stop"),
    (says("a", "b", "c", reason=FinishReason.MAX_TOKENS), "length"),
]
BADLY = [
    ([Started(5), Delta("a", tokens=1), WorkerDied("gone")], "error"),
    ([WorkerDied("gone")], "error"),
    ([Overloaded("busy")], None),
    ([ContextOverflow(9, 5)], None),
]


class Whole(FlaskClient):
    """Takes each answer to its end and closes it, as servers do."""

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> Any:
        return super().open(*args, buffered=buffered, **kwargs)


@pytest.fixture
def app(app: Flask) -> Flask:
    app.test_client_class = Whole
    return app


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "access_log": "json"}


def scrape(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """The page: a name and the values of its labels, in the labels' order, to the value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain")
    found = (each for family in parser.text_string_to_metric_families(answer.text) for each in family.samples)
    return {(each.name, *(value for _, value in sorted(each.labels.items()))): each.value for each in found}


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("path", FAMILY)
def test_mixed_fates_are_counted_exactly(
    client: FlaskClient, pool: FakePool, capfd: pytest.CaptureFixture[str], path: str, streams: bool
) -> None:
    ends: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    for script, reason in [*WELL, *WELL, *BADLY]:
        pool.scripts = [list(script)]
        answer = client.post(path, json={**BODIES[path], "stream": streams})
        assert answer.data
        statuses[answer.status_code] += 1
        if reason is not None:
            ends[reason] += 1
    if streams:
        pool.scripts = [says("a", "b", "c")]
        left = client.post(path, json={**BODIES[path], "stream": True}, buffered=False)
        next(left.iter_encoded())
        left.close()
        statuses[200] += 1
        ends["abort"] += 1
    assert client.post(path, json={**BODIES[path], "model": "nobody"}).status_code == 404
    statuses[404] += 1

    seen, told = scrape(client), lines(capfd)
    assert {reason: seen["vllm:request_success_total", "0", reason, "tiny"] for reason in ends} == ends
    assert ends["error"] == 2 and ends["stop"] == ends["length"] == 2
    by_status = {key[-1]: value for key, value in seen.items() if key[0] == "localai_flask_http_requests_total"}
    assert by_status == {str(status): count for status, count in statuses.items()}
    written = 17 if streams else 11  # a client that left has read the first of them at least
    assert 11 <= seen["vllm:generation_tokens_total", "0", "tiny"] <= written
    assert seen["vllm:prefix_cache_hits_total", "0", "tiny"] == 6
    if not streams:
        assert seen["vllm:inter_token_latency_seconds_count", "0", "tiny"] == 2 * (2 - 1) + 2 * (3 - 1)
    assert seen["vllm:prompt_tokens_total", "0", "tiny"] == 14 + 10 + 5 + (5 if streams else 0)
    errors = {key[1]: value for key, value in seen.items() if key[0] == "localai_flask_request_errors_total"}
    expected = {"model_worker_died": 2, "overloaded": 1, "context_length_exceeded": 1, "model_not_found": 1}
    assert errors == ({**expected, "client_left": 1} if streams else expected)
    assert seen["localai_flask_open_requests",] == 1 and seen.get(("localai_flask_open_streams",), 0) == 0

    assert len(told) == sum(statuses.values()), "one line for each request, and none for the scrape"
    assert sum(each["completion_tokens"] for each in told) == seen["vllm:generation_tokens_total", "0", "tiny"]
    for each in told:
        assert sum(each[f"{phase}_ms"] for phase in Phases._fields) == pytest.approx(each["total_ms"])
        assert each["route"] == path and "secret" not in json.dumps(each)
    assert Counter(each["error"] for each in told if each["error"]) == errors


def test_names_that_strangers_choose_become_no_labels(client: FlaskClient, pool: FakePool) -> None:
    for number in range(20):
        client.post(CHAT, json={**TALK, "model": f"nobody-{number}"})
        client.get(f"/nowhere-{number}")
        client.get(f"/v1/responses/resp_{number}")
        client.open("/healthz", method=f"WORD{number}")
    seen = scrape(client)
    assert not [key for key in seen if any("nobody" in part or "nowhere" in part or "WORD" in part for part in key)]
    assert seen["localai_flask_http_requests_total", "responses", "GET", "/v1/responses/<response_id>", "404"] == 20
    assert seen["localai_flask_http_requests_total", "other", "GET", "-", "404"] == 20
    assert len([key for key in seen if key[0] == "localai_flask_http_requests_total"]) == 4


def test_request_ids(client: FlaskClient, pool: FakePool, capfd: pytest.CaptureFixture[str]) -> None:
    pool.scripts = [says("a"), says("a")]
    answers = [client.post(CHAT, json=TALK, headers={"X-Request-Id": id}) for id in ("mine", "not sane")]
    ids = [each["id"] for each in lines(capfd)]
    assert ids == [answer.headers["X-Request-Id"] for answer in answers]
    assert ids[0] == "mine" and "sane" not in ids[1]


def test_questions_count(client: FlaskClient, pool: FakePool, capfd: pytest.CaptureFixture[str]) -> None:
    assert client.post("/v1/embeddings", json={"model": "tiny", "input": ["one", "three"]}).status_code == 400
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"embed"}))
    assert client.post("/v1/embeddings", json={"model": "tiny", "input": ["one", "three"]}).status_code == 200
    pool.scripts = [[InvalidRequest("no")]]
    assert client.post("/v1/embeddings", json={"model": "tiny", "input": "x"}).status_code == 400
    seen = scrape(client)
    assert seen["vllm:prompt_tokens_total", "0", "tiny"] == 8
    assert seen["vllm:request_success_total", "0", "stop", "tiny"] == 1
    assert [each["prompt_tokens"] for each in lines(capfd)] == [0, 8, 0]


def test_switched_off(settings: dict[str, Any], pool: FakePool, capfd: pytest.CaptureFixture[str]) -> None:
    app = create_app(Settings(**{**settings, "disable_metrics_endpoint": True, "access_log": "off"}), pool=pool)
    assert app.test_client().get("/metrics").status_code == 404
    assert capfd.readouterr().out == ""


def test_a_scrape_needs_a_key_where_there_are_keys(settings: dict[str, Any], pool: FakePool) -> None:
    client = create_app(Settings(**{**settings, "api_key": ("k",)}), pool=pool).test_client()
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer k"}).status_code == 200


def test_client_addresses(app: Flask, pool: FakePool, capfd: pytest.CaptureFixture[str]) -> None:
    client = app.test_client()
    for peer, named in [
        ("127.0.0.1", "10.0.0.9, 192.0.2.7"),
        ("192.0.2.1", "10.0.0.9"),
        ("127.0.0.1", "a b"),
        ("", ""),
    ]:
        client.get("/v1/models", headers={"X-Forwarded-For": named}, environ_overrides={"REMOTE_ADDR": peer})
    assert [each["client"] for each in lines(capfd)] == ["192.0.2.7", "192.0.2.1", "127.0.0.1", "unix"]
