"""Held to JSON, a real model answers as well as free: in each form, and in each API family."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from localai_flask.gallery.starter import NAME as MODEL
from tests.support.server import Server

PEOPLE = [
    *[("Anna", 31, "Berlin"), ("Tom", 45, "Paris"), ("Maria", 27, "Madrid"), ("John", 52, "London")],
    *[("Yuki", 19, "Tokyo"), ("Olga", 38, "Moscow"), ("Peter", 64, "Vienna"), ("Lisa", 23, "Rome")],
    *[("Omar", 41, "Cairo"), ("Emma", 29, "Sydney"), ("Carlos", 35, "Lima"), ("Nina", 47, "Oslo")],
]
QUESTION = "{} is {} years old and lives in {}. Write this as a JSON object with the keys name, age and city."
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "city": {"type": "string"}},
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}
FORMS: dict[str, dict[str, Any]] = {
    "json_schema": {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}},
    "json_object": {"type": "json_object"},
}


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def asked(person: tuple[str, int, str]) -> list[Any]:
    return [{"role": "user", "content": QUESTION.format(*person)}]


def is_right(text: str, person: tuple[str, int, str]) -> bool:
    return json.loads(text) == dict(zip(("name", "age", "city"), person, strict=True))


def wrong(answer, is_right=is_right) -> list[Any]:
    """Ask for all twelve, a few at a time, and return the answers that are not right."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(answer, PEOPLE))
    return [text for text, person in zip(answers, PEOPLE, strict=True) if not is_right(text, person)]


def test_free_the_model_knows_all_twelve(client: openai.OpenAI) -> None:
    def answer(person):
        made = client.chat.completions.create(model=MODEL, messages=asked(person), temperature=0, max_tokens=200)
        found = re.search(r"\{.*\}", made.choices[0].message.content, re.DOTALL)
        return found.group() if found else "null"

    assert wrong(answer, lambda text, person: {*map(str, json.loads(text).values())} >= {*map(str, person)}) == []


@pytest.mark.parametrize("form", FORMS)
def test_chats_held_to_json(client: openai.OpenAI, form: str) -> None:
    def answer(person):
        made = client.chat.completions.create(
            model=MODEL, messages=asked(person), temperature=0, max_tokens=200, response_format=FORMS[form]
        )
        return made.choices[0].message.content

    assert wrong(answer) == []


def test_responses_held_to_json(client: openai.OpenAI) -> None:
    text: Any = {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA}}

    def answer(person):
        with client.responses.stream(model=MODEL, input=asked(person), temperature=0, text=text) as stream:
            return stream.get_final_response().output_text

    assert wrong(answer) == []


def test_messages_held_to_json(server: Server) -> None:
    more: Any = {"temperature": 0, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120) as claude:

        def answer(person):
            made = claude.messages.create(model=MODEL, messages=asked(person), max_tokens=200, extra_body=more)
            return made.content[0].text

        assert wrong(answer) == []


def test_the_arguments_of_calls(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "write_person", "parameters": SCHEMA}}
    choice: Any = {"type": "function", "function": {"name": "write_person"}}

    def answer(person):
        made = client.chat.completions.create(
            model=MODEL, messages=asked(person), temperature=0, max_tokens=200, tools=[tool], tool_choice=choice
        )
        (call,) = made.choices[0].message.tool_calls
        return call.function.arguments

    assert wrong(answer) == []
