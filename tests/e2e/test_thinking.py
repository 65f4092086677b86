"""Thinking that ends at its budget, by the demo model with a template that has every answer begin with thinking."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
import requests

from tests.api.test_thinking_and_forms import PATHS, READ, READ_EVENT, asked
from tests.support.server import Server

STORY: Any = [{"role": "user", "content": "Hello there, tell me a story."}]
SCHEMA = {"type": "object", "properties": {"happy": {"type": "boolean"}}, "required": ["happy"]}
FORM: Any = {
    "type": "json_schema",
    "json_schema": {"name": "mood", "schema": {**SCHEMA, "additionalProperties": False}},
}


def chat(client: openai.OpenAI, **options: Any) -> Any:
    options = {"model": "thinking", "max_tokens": 40, "messages": STORY, **options}
    return client.chat.completions.create(**options).choices[0]


def test_thinking_ends_at_its_budget_and_the_answer_begins(client: openai.OpenAI) -> None:
    free = chat(client).message
    assert not free.content
    limited = chat(client, extra_body={"thinking_budget": 6}).message
    assert limited.content and free.reasoning_content.startswith(limited.reasoning_content)
    none = chat(client, extra_body={"thinking_budget": 0}).message
    assert none.content and not getattr(none, "reasoning_content", None)


def test_an_answer_behind_limited_thinking_has_its_form(client: openai.OpenAI) -> None:
    choice = chat(client, response_format=FORM, max_tokens=200, extra_body={"reasoning_budget": 6})
    assert choice.finish_reason == "stop" and choice.message.reasoning_content
    assert set(json.loads(choice.message.content)) == {"happy"}


@pytest.mark.parametrize("stream", [False, True])
def test_the_budget_of_anthropics_api(server: Server, stream: bool) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 5}
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60) as client:
        asked: Any = {"model": "thinking", "max_tokens": 40, "messages": STORY, "thinking": thinking}
        if stream:
            with client.messages.stream(**asked) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**asked)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert len(answer.content[0].thinking.split()) <= 5


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("family", sorted(PATHS))
def test_thinking_within_a_budget_and_a_schema_in_every_family(server: Server, family: str, tools: bool) -> None:
    """The demo model thinks as its prompt has begun to, for six tokens; its answer fits the schema, or is a call."""
    body = {**asked(family, "budget", "schema", tools), "model": "brief"}
    body |= {"max_output_tokens" if family == "responses" else "max_tokens": 200, "temperature": 0}
    status, whole = server.post(PATHS[family], body)
    assert status == 200, whole
    thought, text = READ[family](whole)
    assert thought and len(thought.split()) <= 6 and "think>" not in thought + text
    assert set(json.loads(text)) == {"happy"} if text else tools and '"note"' in json.dumps(whole)
    streamed = requests.post(server.url + PATHS[family], json={**body, "stream": True}, timeout=60).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line.startswith("data: {")]
    parts = [READ_EVENT[family](json.loads(event)) for event in events]
    assert ("".join(part[0] for part in parts), "".join(part[1] for part in parts)) == (thought, text)
