"""The OpenAPI document is true: whatever it allows is answered as it says, and nothing makes the server fail."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from localai_flask.api.work import watch
from localai_flask.app import create_app
from localai_flask.pool.protocol import PoolReport
from localai_flask.pool.runtime import ENV
from localai_flask.settings import Settings
from tests.api.fakes import FakePool, Step, says

EXAMPLES = 25
BUILTIN = '[{"name":"localai-flask","url":"builtin:"}]'
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class TalkativePool(FakePool):
    """Answers whatever it is asked."""

    class Scripts(list[list[Step]]):
        def pop(self, *_: Any) -> list[Step]:
            return says("ok")

    def __init__(self) -> None:
        super().__init__()
        self.scripts = self.Scripts()
        self.reports = [PoolReport(models=[], backends=["echo"], memory_budget=None, max_models=0)]


FOLDER = tempfile.TemporaryDirectory(prefix="models-")
"""A folder of its own, as some operations write and delete models."""
MODELS = Path(shutil.copytree(Path(__file__).parents[2] / "models", FOLDER.name, dirs_exist_ok=True))
SETTINGS = Settings(
    models_path=MODELS, database_url=f"sqlite:///{FOLDER.name}/responses.db", offline=True, galleries=BUILTIN
)
APP = create_app(SETTINGS, pool=TalkativePool())
DOCUMENT = schemathesis.openapi.from_wsgi("/swagger/openapi.json", APP)
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in DOCUMENT.get_all_operations())}
PATHS = {rule.rule for rule in APP.url_map.iter_rules() if not rule.arguments}


@pytest.fixture(autouse=True, scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder of a running server, in which the logs of models and requests in flight are looked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENV, str(tmp_path_factory.mktemp("runtime")))
        patch.setattr(watch, "_drain_deadline", math.inf)  # the server stops, so that streams of news have an end
        yield


def is_of_another(case: schemathesis.Case) -> bool:
    """Return whether a path with its parameters is another operation's, as that of a model named "capabilities"."""
    return "{" in case.operation.path and case.formatted_path in PATHS


@pytest.mark.parametrize("label", OPERATIONS)
def test_operation(label: str) -> None:
    # schemathesis' own pytest integration does not know this version of pytest yet.
    @given(case=OPERATIONS[label].as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def try_out(case: schemathesis.Case) -> None:
        assume(not is_of_another(case))
        waits = isinstance(case.body, dict) and case.body.get("stream") is False
        assume(label != "POST /api/pull" or not waits)  # for a download, as the server stops meanwhile
        response = case.call()
        assume(not (response.status_code == 503 and "is being fetched" in response.text))  # as another operation asked
        case.validate_response(response, checks=CHECKS)

    try_out()


@pytest.mark.parametrize(
    ("label", "body"),
    [
        ("POST /v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("POST /v1/completions", {"prompt": "hi"}),
        ("POST /v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}),
        ("POST /v1/responses", {"input": "hi", "store": False}),
    ],
)
def test_streams_are_as_documented(label: str, body: dict[str, Any]) -> None:
    case = OPERATIONS[label].Case(body={**body, "stream": True}, media_type="application/json")
    response = case.call_and_validate(checks=CHECKS)
    assert response.headers["content-type"][0].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("label", "body"),
    [
        ("POST /api/chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("POST /api/generate", {"prompt": "hi"}),
    ],
)
def test_streams_of_lines_are_as_documented(label: str, body: dict[str, Any]) -> None:
    response = OPERATIONS[label].Case(body=body, media_type="application/json").call_and_validate(checks=CHECKS)
    assert response.headers["content-type"][0].startswith("application/x-ndjson")


def test_every_family_is_documented() -> None:
    assert {"POST /v1/chat/completions", "POST /v1/messages", "GET /v1/models", "POST /api/chat"} <= set(OPERATIONS)
