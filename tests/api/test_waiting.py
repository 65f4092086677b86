"""On what terms requests wait: how urgent they are, how long they may take, and whose they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from localai_flask.atomic_file import replace_text
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from tests.api.fakes import FakePool, FakeSession, says

HELLO = [{"role": "user", "content": "hello"}]
FAMILIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "hello"},
    "/v1/edits": {"instruction": "hello"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
    "/v1/responses": {"input": "hello", "store": False},
    "/v1/embeddings": {"input": "hello"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
}


@pytest.fixture(autouse=True)
def able(pool: FakePool) -> None:
    pool.info = pool.info.__class__(
        **{
            **{name: getattr(pool.info, name) for name in pool.info.__struct_fields__},
            "capabilities": frozenset({"generate", "embed", "score"}),
        }
    )


def ask(client: FlaskClient, pool: FakePool, path: str, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    pool.scripts = [] if path in ("/v1/embeddings", "/v1/rerank") else [says("a")]
    return client.post(path, json={**FAMILIES[path], **fields}, headers=headers)


@pytest.mark.parametrize("path", list(FAMILIES))
def test_every_family_takes_a_priority_and_a_time(client: FlaskClient, pool: FakePool, path: str) -> None:
    assert ask(client, pool, path).status_code == 200
    assert ask(client, pool, path, priority=-7, timeout=2.5).status_code == 200
    plain, wished = pool.terms
    assert (plain.priority, plain.timeout_s, plain.is_background) == (0, None, False)
    assert wished.priority == -7 and wished.timeout_s is not None and 1 < wished.timeout_s <= 2.5


@pytest.mark.parametrize(("field", "value"), [("priority", "high"), ("priority", 2**40), ("timeout", 0)])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_what_cannot_be_is_a_400(client: FlaskClient, pool: FakePool, path: str, field: str, value: Any) -> None:
    refused = ask(client, pool, path, **{field: value})
    assert refused.status_code == 400 and field in refused.get_json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
def test_the_time_covers_loading(client: FlaskClient, pool: FakePool, path: str) -> None:
    pool.loading = [0.25, 0.5] * 10_000_000  # type: ignore[assignment]
    refused = ask(client, pool, path, timeout=0.05)
    assert refused.status_code == 504 and not pool.terms
    message = refused.get_json()["error"]["message"]
    assert "was still loading (25 %)" in message or "was still loading (50 %)" in message


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
def test_who_does_not_want_to_wait_for_an_engine_hears_when_to_come_again(
    client: FlaskClient, pool: FakePool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeSession, "coming", "engine")
    monkeypatch.setattr("localai_flask.api.request.waiting.FETCH_PATIENCE_S", 0.0)
    pool.loading = [0.25, 0.5]
    refused = ask(client, pool, path)
    assert refused.status_code == 503 and 2 <= int(refused.headers["Retry-After"]) <= 60
    assert "backend is being installed for model" in refused.get_data(as_text=True)
    assert ask(client, pool, path, {"Prefer": "wait=60"}).status_code == 200


def test_what_loading_took_is_no_longer_left(client: FlaskClient, pool: FakePool) -> None:
    class Slow(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            time.sleep(0.3)
            return super().__iter__()

    pool.loading = Slow([0.5])
    assert ask(client, pool, "/v1/chat/completions", timeout=5).status_code == 200
    assert 3 < (pool.terms[0].timeout_s or 0) <= 4.7


class TestServersTime:
    @pytest.fixture
    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "request_timeout": 5.0}

    def test_no_request_gives_itself_more(self, client: FlaskClient, pool: FakePool) -> None:
        for fields in ({}, {"timeout": 60}, {"timeout": 2}):
            ask(client, pool, "/v1/chat/completions", **fields)
        whole, longer, shorter = (terms.timeout_s or 0 for terms in pool.terms)
        assert 4 < whole <= 5 and 4 < longer <= 5 and 1 < shorter <= 2


class TestKeys:
    @pytest.fixture
    def settings(self, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
        entries = {
            "fast": Entry(digest("fast"), priority=-3),
            "slow": Entry(digest("slow"), priority=4),
            "plain": Entry(digest("plain")),
        }
        replace_text(file, key_file.render(entries))
        return {**settings, "api_keys_file": str(file)}

    @pytest.mark.parametrize(
        ("name", "asked", "given"),
        [("fast", None, -3), ("slow", None, 4), ("plain", None, 0), ("fast", -9, -3), ("fast", 2, 2), ("plain", -1, 0)],
    )
    def test_a_keys_priority_is_the_most_urgent(
        self, client: FlaskClient, pool: FakePool, name: str, asked: int | None, given: int
    ) -> None:
        fields = {} if asked is None else {"priority": asked}
        ask(client, pool, "/v1/messages", {"x-api-key": name}, **fields)
        assert [terms.priority for terms in pool.terms] == [given]

    def test_each_key_has_a_share_of_its_own(self, client: FlaskClient, pool: FakePool) -> None:
        for name in ("fast", "slow", "fast"):
            ask(client, pool, "/v1/chat/completions", {"x-api-key": name})
        first, second, third = (terms.caller for terms in pool.terms)
        assert first == third != second != ""
