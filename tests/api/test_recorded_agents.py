"""Requests as coding agents have sent them, with their texts shortened: each is served as it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.fakes import FakePool, says

RECORDED = Path(__file__).parents[1] / "data" / "agents"
PATHS = {"codex": "/v1/responses", "claude": "/v1/messages?beta=true", "opencode": "/v1/chat/completions"}


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_request_is_served(client: FlaskClient, pool: FakePool, path: Path) -> None:
    body: dict[str, Any] = json.loads(path.read_text())
    pool.scripts = [says("ok")]
    answer = client.post(PATHS[path.stem], json={**body, "model": "tiny"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert b'"ok"' in answer.data and pool.prompt.text
    named = {tool.get("type") for tool in body["tools"]} & {"web_search"}
    assert answer.headers.get("X-Tools-Left-Out", "") == ", ".join(named)
