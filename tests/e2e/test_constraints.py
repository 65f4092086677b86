"""Answers that keep to a form, by the demo model through the official client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

GET_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "maxLength": 30}},
            "required": ["location"],
            "additionalProperties": False,
        },
    },
}
PERSON: Any = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORM: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}


def chat(client: openai.OpenAI, text: str, **options: Any) -> Any:
    options = {"model": "demo", "max_tokens": 200, **options}
    return client.chat.completions.create(messages=[{"role": "user", "content": text}], **options)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.2, "seed": 7}])
def test_a_schema_is_kept(client: openai.OpenAI, sampling: dict[str, Any]) -> None:
    choice = chat(client, "Hello, my name is Ann.", response_format=FORM, **sampling).choices[0]
    assert choice.finish_reason == "stop"
    person = json.loads(choice.message.content)
    assert list(person) == ["name", "age"] and person["age"] in range(10)


def test_a_schema_in_a_stream(client: openai.OpenAI) -> None:
    chunks = list(chat(client, "Hello, my name is Ann.", response_format=FORM, temperature=0, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert set(json.loads(text)) == {"name", "age"}


def test_the_client_parses_an_answer_into_a_model(client: openai.OpenAI) -> None:
    pydantic = pytest.importorskip("pydantic")
    mood = pydantic.create_model("Mood", happy=(bool, ...), score=(int, ...))
    answer = client.chat.completions.parse(
        model="demo", messages=[{"role": "user", "content": "How are you?"}], response_format=mood, max_tokens=200
    )
    assert isinstance(answer.choices[0].message.parsed, mood)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("question", ["What is the weather like in Oslo?", "Tell me a story"])
def test_a_forced_call(client: openai.OpenAI, choice: Any, question: str) -> None:
    answer = chat(client, question, tools=[GET_WEATHER], tool_choice=choice, parallel_tool_calls=False, temperature=0)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"location"}
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_schema_that_cannot_be_kept_is_refused_with_its_place(client: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"a": {"not": {}}}}}}
    with pytest.raises(openai.BadRequestError, match=r"\$\.properties\.a\.not"):
        chat(client, "Hello", response_format=form)


def test_an_engine_without_constraints_refuses_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="the echo backend cannot") as caught:
        chat(client, "Hello", model="echo", response_format=FORM)
    assert caught.value.code == "unsupported_parameter"
