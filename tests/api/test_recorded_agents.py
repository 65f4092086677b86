"""Requests as coding agents have sent them while they edited a file, with their texts shortened (`make agents`)."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from tests.api.fakes import FakePool, says

TESTS = Path(__file__).parents[1]
RECORDED = sorted((TESTS / "data" / "agents").glob("*.json"))
TEMPLATE = (TESTS.parent / "models" / "demo" / "chat_template.jinja").read_text()
ANSWER_BEGINS = "<|im_start|>assistant\n"
HOSTED = {"web_search"}


@pytest.fixture(autouse=True)
def _real_template(pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, chat_template=TEMPLATE)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_requests_are_served(client: FlaskClient, pool: FakePool, path: Path) -> None:
    for recorded in json.loads(path.read_text()):
        body = recorded["body"]
        pool.scripts = [says("ok")]
        answer = client.post(recorded["path"], json={**body, "model": "tiny"})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        assert b'"ok"' in answer.data
        assert all(f'"name": "{name}"' in pool.prompt.text for name in function_names(body))
        named = {tool.get("type") for tool in body.get("tools", ())} & HOSTED
        assert answer.headers.get("X-Tools-Left-Out", "") == ", ".join(named)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_each_prompt_begins_with_the_one_before(client: FlaskClient, pool: FakePool, path: Path) -> None:
    """So that the prefix cache has it, whatever lines an agent changes from request to request."""
    requests = json.loads(path.read_text())
    prompts = []
    for recorded in requests:
        pool.scripts = [says("ok")]
        client.post(recorded["path"], json={**recorded["body"], "model": "tiny"})
        prompts.append(pool.prompt.text)
    later = 0
    for (first, begun), (second, gone_on) in pairwise(zip(requests, prompts, strict=True)):
        if goes_on(first["body"], second["body"]):
            later += 1
            assert begun.endswith(ANSWER_BEGINS)
            assert gone_on.startswith(begun.removesuffix(ANSWER_BEGINS))
    assert later > 0 or path.stem in ("aider", "claude-2.1.197")  # of these there is one question for each conversation


def turns(body: dict[str, Any]) -> list[Any]:
    said: list[Any] = body["input"] if "input" in body else body["messages"]
    return said


def goes_on(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether one request is the next of the other's conversation."""
    return first.get("tools") == second.get("tools") and 0 < len(turns(first)) < len(turns(second))


def function_names(body: dict[str, Any]) -> list[str]:
    """Return the names of the tools that are functions and shown at once."""
    tools = [tool.get("function", tool) for tool in body.get("tools", ())]
    return [
        tool["name"] for tool in tools if tool.get("type", "function") == "function" and not tool.get("defer_loading")
    ]
