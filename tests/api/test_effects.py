"""What the page of compatibility says is honoured has an effect: on the prompt, on what the engine is asked, or on the
answer; and what it says has none changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.api.request.fields import Noted, Refused
from localai_flask.app import create_app
from localai_flask.settings import Settings
from tests.api.conftest import MODEL
from tests.api.fakes import FakePool, says
from tests.support.effects import BODIES
from tests.unit.test_compatibility import REQUESTS

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.reasoning_content }}<|im_end|>\n{% endfor %}"
    "{{ tools|tojson if tools }}[{{ reasoning_effort }}{{ x }}]"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{% endif %}"
)
CHANGING = re.compile(
    r'"(id|item_id|call_id|created|created_at|completed_at|timings|signature|\w+_duration)":\s*("[^"]*"|[\d.]+|\{[^}]*\})'
)
SCHEMAS = {title.split("`")[1].removeprefix("POST "): schema for title, _, schema in REQUESTS}
HONOURED = [
    (path, name)
    for path, schema in SCHEMAS.items()
    for name, field in schema().fields.items()
    if not isinstance(field, Noted | Refused)
]
HINTS = [
    (path, name)
    for path, schema in SCHEMAS.items()
    for name, field in schema().fields.items()
    if isinstance(field, Noted)
]
WITHOUT_OTHER = {
    *(("/v1/responses", "previous_response_id"), ("/v1/responses", "conversation")),
    *(("/api/chat", "num_ctx"), ("/api/generate", "num_ctx"), ("/api/generate", "images")),
    *(("/api/chat", "truncate"), ("/api/generate", "truncate")),
}
"""Fields that need another request before, or a model that has a context, or one that sees."""
ASKS = (
    "/v1/embeddings",
    "/v1/messages/count_tokens",
    "/api/embed",
    "/api/embeddings",
    "/v1/decisions",
    "/v1/moderations",
)
"""Paths whose requests are questions, or begin with one."""


@pytest.fixture(scope="module")
def pool() -> FakePool:
    pool = FakePool()
    can = frozenset({"generate", "constrain", "end_thinking", "infill", "embed", "tokenize"})
    pool.info = msgspec.structs.replace(pool.info, chat_template=TEMPLATE, capabilities=can)
    return pool


@pytest.fixture(scope="module")
def client(pool: FakePool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """One application for all of them, as they are many; background responses remember where the server runs."""
    models, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("server")
    for name in ("tiny", "other"):
        (models / f"{name}.yaml").write_text(MODEL.format(name=name) + "lora_adapter: a.gguf\n")
    settings = Settings(models_path=models, database_url=f"sqlite:///{folder}/responses.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALAI_FLASK_RUNTIME_DIR", str(folder))
        yield create_app(settings, pool=pool).test_client()


def footprint(client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any]) -> Any:
    """Return all that a request has caused and that does not change by itself."""
    for record in (pool.configs, pool.requests, pool.questions, pool.terms, pool.kept, pool.scripts):
        record.clear()  # type: ignore[attr-defined]
    if path not in ASKS:
        pool.scripts = [says("mus", "ing</think>", "Hello", " there") for _ in range(2)]
    response = client.post(path, json={"model": "tiny", **body})
    said = response.text
    response.close()
    assert response.status_code == 200, said
    assert pool.open == 0
    shown = CHANGING.sub(r'"\1":0', said.replace(": ping\n\n", ""))
    asked = [config.name for config in pool.configs], pool.requests[:], pool.questions[:], pool.terms[:], pool.kept[:]
    return shown, response.headers.get("Content-Type"), repr(asked)


@pytest.mark.parametrize("path", SCHEMAS)
def test_the_same_request_leaves_the_same_traces(client: FlaskClient, pool: FakePool, path: str) -> None:
    assert footprint(client, pool, path, BODIES[path][0]) == footprint(client, pool, path, BODIES[path][0])


@pytest.mark.parametrize(("path", "name"), [pair for pair in HONOURED if pair not in WITHOUT_OTHER])
def test_a_field_that_is_honoured_has_an_effect(client: FlaskClient, pool: FakePool, path: str, name: str) -> None:
    plain, effects = BODIES[path]
    assert name in effects, f"tests/support/effects.py has no request with `{name}`"
    value, more = effects[name]
    without = footprint(client, pool, path, {**plain, **more})
    assert footprint(client, pool, path, {**plain, **more, name: value}) != without


@pytest.mark.parametrize(("path", "name"), HINTS)
def test_a_field_without_effect_changes_nothing(client: FlaskClient, pool: FakePool, path: str, name: str) -> None:
    plain = BODIES[path][0]
    without = footprint(client, pool, path, plain)
    for value in ("text", 7, {"a": 1}, True):
        assert footprint(client, pool, path, {**plain, name: value}) == without


def test_a_response_goes_on_from_another(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("One"), says("Two")]
    first = client.post("/v1/responses", json={"model": "tiny", "input": "Hi"}).get_json()
    client.post("/v1/responses", json={"model": "tiny", "input": "On", "previous_response_id": first["id"]})
    assert "One" in pool.prompt.text
