"""Thinking that ends at its budget, by the demo model with a template that has every answer begin with thinking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
import requests

from tests.api.test_thinking_and_forms import PATHS, READ, READ_EVENT, asked
from tests.support.processes import wait_for
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


# Ending it while it runs


def control(server: Server, id: str, **asked: Any) -> Any:
    body = {"id": id, "action": "reasoning_end", **asked}
    return requests.post(f"{server.url}/v1/chat/completions/control", json=body, timeout=10)


def long_thought(server: Server, family: str, conversation: str = "", **asked: Any) -> Iterator[tuple[str, Any]]:
    """Have a model think for as long as it can, and yield the names and the data of the events."""
    bodies: dict[str, Any] = {
        "/v1/chat/completions": {"messages": STORY, "max_tokens": 450},
        "/v1/messages": {"messages": STORY, "max_tokens": 450},
        "/v1/responses": {"input": STORY, "max_output_tokens": 450},
    }
    body = {"model": "thinking", "stream": True, "ignore_eos": True, "reasoning_control": True, **bodies[family]}
    kept = {"X-Conversation-Id": conversation} if conversation else {}
    with requests.post(server.url + family, json={**body, **asked}, headers=kept, stream=True, timeout=60) as answer:
        assert answer.status_code == 200, answer.text
        lines = (line.decode() for line in answer.iter_lines())
        yield from (("", json.loads(line[6:])) for line in lines if line.startswith("data: {"))


def id_in(event: Any) -> str:
    """Return the id of the answer, which stands elsewhere in each family."""
    return str(event.get("id") or (event.get("message") or event.get("response"))["id"])


@pytest.mark.parametrize("family", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_thinking_ends_when_its_client_says_so(server: Server, family: str) -> None:
    def run(*, is_told: bool) -> tuple[int, int, list[Any]]:
        """Return how many events have thoughts, and how many have text."""
        thoughts = texts = 0
        said = []
        for count, (_, event) in enumerate(long_thought(server, family)):
            if count == 0 and is_told:
                said.append(control(server, id_in(event)).json())
            shown = json.dumps(event)
            thoughts += any(f'"{name}"' in shown for name in ("reasoning_content", "thinking_delta")) or (
                "reasoning" in event.get("type", "") and "delta" in event
            )
            texts += '"content": "' in shown or '"text_delta"' in shown or "output_text.delta" in shown
        return thoughts, texts, said

    free, without_text, _ = run(is_told=False)
    assert free > 0 == without_text
    for _ in range(3):  # over several web workers
        thoughts, texts, said = run(is_told=True)
        assert said == [{"success": True}]
        assert texts > 0 and thoughts < free


def test_the_thinking_of_a_stream_that_goes_on_without_its_client_ends_too(server: Server) -> None:
    texts = ""
    for count, (_, chunk) in enumerate(long_thought(server, "/v1/chat/completions", conversation="c-1")):
        if count == 0:
            assert control(server, chunk["id"]).json() == {"success": True}
        texts += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    assert texts


def test_all_choices_of_a_completion_end_their_thinking(server: Server) -> None:
    seen: dict[int, str] = {0: "", 1: ""}
    for count, (_, chunk) in enumerate(long_thought(server, "/v1/chat/completions", n=2)):
        if count == 0:
            assert control(server, chunk["id"]).json() == {"success": True}
        for choice in chunk["choices"]:
            seen[choice["index"]] += choice["delta"].get("content") or ""
    assert all(seen.values())


def test_a_whole_answer_ends_its_thinking_too(server: Server) -> None:
    """Its id is the request's, as the answer's is not known before its end."""
    body = {"model": "thinking", "messages": STORY, "max_tokens": 450, "ignore_eos": True, "reasoning_control": True}
    url, name = f"{server.url}/v1/chat/completions", {"X-Request-Id": "end-me-now"}
    with ThreadPoolExecutor() as threads:
        free = threads.submit(requests.post, url, json=body, timeout=60).result().json()["choices"][0]["message"]
        answer = threads.submit(requests.post, url, json=body, headers=name, timeout=60)
        wait_for(lambda: answer.done() or control(server, "end-me-now").json()["success"], 20, "it can be ended")
        message = answer.result().json()["choices"][0]["message"]
    assert not free["content"] and message["content"]
    assert free["reasoning_content"].startswith(message["reasoning_content"])


def test_what_cannot_be_ended_is_said(server: Server) -> None:
    assert control(server, "chatcmpl-nobody").json() == {
        "success": False,
        "message": "no active completion for this id",
    }
    for count, (_, chunk) in enumerate(long_thought(server, "/v1/chat/completions", reasoning_control=False)):
        if count == 0:
            said = control(server, chunk["id"]).json()
            assert said["success"] is False and "send `reasoning_control: true`" in said["message"]
    assert control(server, chunk["id"]).json()["message"] == "no active completion for this id"
    assert control(server, "x", action="stop").status_code == 400
    assert control(server, "").status_code == 400


def test_the_thinking_of_a_background_response_ends_by_its_id(server: Server) -> None:
    asked = {"model": "thinking", "input": STORY, "max_output_tokens": 450, "ignore_eos": True, "background": True}
    url = f"{server.url}/v1/responses"
    begun = requests.post(url, json={**asked, "reasoning_control": True}, timeout=10).json()

    def ended() -> Any:
        found = requests.get(f"{url}/{begun['id']}", timeout=10).json()
        return None if found["status"] in ("queued", "in_progress") else found

    wait_for(lambda: control(server, begun["id"]).json()["success"] or ended(), 20, "it can be ended")
    found = wait_for(ended, 20, "the response ends")
    assert [item["type"] for item in found["output"]] == ["reasoning", "message"]
