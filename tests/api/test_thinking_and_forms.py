"""Thinking, a form for the answer, a budget and tools together: the answer has its form, the thought stands apart.

The engine is scripted, but holds its text to the form and to the budget as real ones do.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

pytest.importorskip("llguidance")

from localai_flask.generation import ModelInfo, Prompt
from localai_flask.sampling_params import SamplingParams
from tests.api.fakes import FakeGeneration, FakePool, FakeSession, frames
from tests.support.obedient import say

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TOOLS = "{% if tools %}<tools>{{ tools | tojson }}</tools><tool_call>{% endif %}"
HARMONY = (
    "{% if tools %}functions.{% endif %}{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>"
)
TEMPLATES: dict[str, tuple[str, str, str, str]] = {
    "opens thinking": (TURNS + TOOLS + "<|im_start|>assistant\n<think>\n", "", "</think>\n\n", ""),
    "thinks by itself": (
        TURNS + TOOLS + "<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
        "<think>\n",
        "</think>\n\n",
        "",
    ),
    "mistral": (TURNS + "{% if tools %}[TOOL_CALLS]{% endif %}{# [THINK] [/THINK] #}", "[THINK]", "[/THINK]", ""),
    "seed": (TURNS + TOOLS + "{# <seed:think> #}", "<seed:think>", "</seed:think>", ""),
    "command": (TURNS + TOOLS + "{# <|START_THINKING|> #}", "<|START_THINKING|>", "<|END_THINKING|>", ""),
    "gemma": (TURNS + TOOLS + "{# <|channel>thought #}", "<|channel>thought\n", "<channel|>", ""),
    "harmony": (
        HARMONY + "{% endfor %}{# <|channel|> #}<|start|>assistant",
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant",
        "<|channel|>final <|constrain|>json<|message|>",
    ),
}
"""A template, what stands before and behind its model's thoughts, and what before its text."""
SCHEMA = {"type": "object", "properties": {"happy": {"type": "boolean"}}, "required": ["happy"]}
SCHEMA |= {"additionalProperties": False}
THOUGHT = 'Is {"happy": false} what they want? I "guess" not, or so it seems to me.'
BUDGET = 20
GOOD, BAD = '{"happy": true}', 'Sure, I am happy: yes! } " ]'


class ObedientPool(FakePool):
    """Says a thought and an answer, as the prompt and its template have it."""

    def __init__(self) -> None:
        super().__init__()
        self.form: tuple[str, str, str, str] = TEMPLATES["mistral"]
        self.answer = GOOD
        self.thinks = True

    def session(self, config: Any) -> Any:
        return ObedientSession(self)

    def wish(self, prompt: Prompt) -> str:
        _, start, end, head = self.form
        tail = prompt.text.rstrip()
        if tail.endswith("</think>") or not (self.thinks or tail.endswith("<think>")):
            return head + self.answer
        return start + THOUGHT + "\n" + end + head + self.answer


class ObedientSession(FakeSession):
    def generate(self, requests: list[tuple[Prompt, SamplingParams]], *_: Any) -> FakeGeneration:
        pool = self._pool
        assert isinstance(pool, ObedientPool)
        pool.requests += requests
        self.leave()
        return FakeGeneration(pool, [say(pool.wish(prompt), sampling) for prompt, sampling in requests])


@pytest.fixture
def pool() -> Iterator[FakePool]:
    pool = ObedientPool()
    yield pool
    assert pool.open == 0


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text("name: tiny\nbackend: echo\n")
    (tmp_path / "limited.yaml").write_text(f"name: limited\nbackend: echo\nreasoning: {{budget: {BUDGET}}}\n")
    return tmp_path


def asked(family: str, thinking: str, form: str, tools: bool) -> dict[str, Any]:
    """Return a request's body; None for what a family has no word for."""
    turns, model = [{"role": "user", "content": "Are you happy?"}], "limited" if thinking == "budget" else "tiny"
    tool = {"name": "note", "description": "Takes a note.", "parameters": {"type": "object", "properties": {}}}
    if family == "chat":
        forms: dict[str, Any] = {
            "schema": {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA}},
            "object": {"type": "json_object"},
        }
        body: dict[str, Any] = {"messages": turns, "response_format": forms.get(form, {"type": "text"})}
        body |= {"reasoning_effort": "none"} if thinking == "off" else {}
        body |= {"tools": [{"type": "function", "function": tool}]} if tools else {}
    elif family == "responses":
        forms = {"schema": {"type": "json_schema", "name": "mood", "schema": SCHEMA}, "object": {"type": "json_object"}}
        body = {"input": turns, "store": False, "text": {"format": forms.get(form, {"type": "text"})}}
        body |= {"reasoning": {"effort": "none" if thinking == "off" else "high"}}
        body |= {"tools": [{"type": "function", **tool}]} if tools else {}
    else:
        body = {"messages": turns, "max_tokens": 5000}
        body |= {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}} if form == "schema" else {}
        kinds = {"off": {"type": "disabled"}, "on": {"type": "enabled", "budget_tokens": 3000}}
        body |= {"thinking": kinds[thinking]} if thinking in kinds else {}
        body |= {"tools": [{"name": "note", "input_schema": {"type": "object"}}]} if tools else {}
    return {"model": model, **body}


PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}


def answer_of(client: FlaskClient, family: str, body: dict[str, Any], stream: bool) -> tuple[str, str]:
    """Return an answer's thought and its text."""
    response = client.post(PATHS[family], json={**body, **({"stream": True} if stream else {})})
    assert response.status_code == 200, response.get_data(as_text=True)
    if not stream:
        return READ[family](response.get_json())
    thought, text = "", ""
    for frame in frames(response.data):
        data = frame.partition("data: ")[2]
        if data and data != "[DONE]":
            more = READ_EVENT[family](json.loads(data))
            thought, text = thought + more[0], text + more[1]
    return thought, text


def read_chat(body: dict[str, Any]) -> tuple[str, str]:
    message = body["choices"][0]["message"]
    return message.get("reasoning_content") or "", message["content"] or ""


def read_message(body: dict[str, Any]) -> tuple[str, str]:
    blocks = [(block.get("thinking", ""), block.get("text", "")) for block in body["content"]]
    return "".join(thought for thought, _ in blocks), "".join(text for _, text in blocks)


def read_response(body: dict[str, Any]) -> tuple[str, str]:
    parts = {"reasoning": "", "message": ""}
    for item in body["output"]:
        parts[item["type"]] += "".join(part["text"] for part in item["content"])
    return parts["reasoning"], parts["message"]


def chat_event(event: dict[str, Any]) -> tuple[str, str]:
    delta = event["choices"][0]["delta"] if event.get("choices") else {}
    return delta.get("reasoning_content") or "", delta.get("content") or ""


def message_event(event: dict[str, Any]) -> tuple[str, str]:
    delta = event.get("delta", {})
    return delta.get("thinking", ""), delta.get("text", "")


def response_event(event: dict[str, Any]) -> tuple[str, str]:
    delta = event.get("delta", "")
    kind = event["type"]
    return (delta if kind == "response.reasoning_text.delta" else ""), (
        delta if kind == "response.output_text.delta" else ""
    )


READ = {"chat": read_chat, "messages": read_message, "responses": read_response}
READ_EVENT = {"chat": chat_event, "messages": message_event, "responses": response_event}


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("family", PATHS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_thought_and_answer(client: FlaskClient, pool: ObedientPool, name: str, family: str, tools: bool) -> None:
    pool.form = TEMPLATES[name]
    able = frozenset({"generate", "constrain", "end_thinking"})
    pool.info = ModelInfo(
        backend="fake", engine_version="1", context_length=8192, capabilities=able, chat_template=pool.form[0]
    )
    is_switched = "enable_thinking" in pool.form[0]
    for thinking, form, wish in itertools.product(("on", "off", "budget"), ("schema", "object", "none"), (GOOD, BAD)):
        if family == "messages" and form == "object":
            continue
        # A call's marker may begin as a thought's does, in bytes: with tools, the model keeps to what it is told.
        pool.answer, pool.thinks = wish, thinking != "off" or not tools
        body = asked(family, thinking, form, tools)
        whole = answer_of(client, family, body, stream=False)
        case = (thinking, form, wish, whole)
        assert answer_of(client, family, body, stream=True) == whole, case
        thought, text = whole
        if form != "none":
            assert isinstance(json.loads(text), dict), case
        if form == "schema":
            assert set(json.loads(text)) == {"happy"}, case
        if form == "none" or (wish == GOOD and thinking != "off"):
            assert text == wish, case
        if thinking == "budget":
            assert thought and THOUGHT.startswith(thought) and len(thought) <= BUDGET, case
        elif thinking == "on":
            assert thought == THOUGHT, case
        elif is_switched:
            assert not thought, case
