"""Schemas that take seconds to compile: the streams beside go on, and the answer has its form."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import openai
import pytest

MANY = {f"property_{at}": {"type": "string" if at % 2 else "integer", "maxLength": 9} for at in range(3000)}
SCHEMA = {"type": "object", "properties": {**MANY, "z": {"const": 1}}, "required": ["z"], "additionalProperties": False}
STORY: Any = [{"role": "user", "content": "Hello there, tell me a story."}]
FORM: Any = {"type": "json_schema", "json_schema": {"name": "many", "schema": SCHEMA}}


def test_streams_go_on_while_a_schema_of_3000_properties_is_compiled(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "messages": STORY, "temperature": 0}
    client.chat.completions.create(**asked, max_tokens=1)
    stream = client.chat.completions.create(**asked, max_tokens=1900, stream=True, extra_body={"ignore_eos": True})
    took: list[float] = []

    def ask() -> None:
        begun = time.monotonic()
        with client.chat.completions.create(**asked, max_tokens=8, response_format=FORM, stream=True) as answer:
            assert any(chunk.choices[0].delta.content for chunk in answer if chunk.choices)
        took.append(time.monotonic() - begun)

    thread, longest = threading.Thread(target=ask), 0.0
    last = time.monotonic()
    for number, _ in enumerate(stream):
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        if number == 3:
            thread.start()
        if number > 3 and not thread.is_alive():
            break
    stream.close()
    thread.join(60)
    assert took and longest < took[0] / 2, (longest, took)


@pytest.mark.parametrize("required", [["z"], []])
def test_a_large_schema_is_kept(client: openai.OpenAI, required: list[str]) -> None:
    """What could come next, at every place, is any of three thousand properties."""
    form = {"type": "json_schema", "json_schema": {"name": "many", "schema": {**SCHEMA, "required": required}}}
    made = client.chat.completions.create(
        model="demo",
        messages=STORY,
        temperature=1,
        max_tokens=120,
        response_format=form,
        extra_body={"seed": 1},  # type: ignore[arg-type]
    )
    choice = made.choices[0]
    text = choice.message.content or ""
    assert text.startswith("{") and choice.finish_reason in ("stop", "length")
    if choice.finish_reason == "stop":
        assert set(json.loads(text)) <= {*MANY, "z"} and set(required) <= set(json.loads(text))


def test_a_grammar_that_is_too_large_is_refused(client: openai.OpenAI) -> None:
    rules = "\n".join(f'r{at}: "a" r{at + 1} "b"' for at in range(9000))
    format: Any = {"type": "grammar", "syntax": "lark", "definition": f'start: r0\n{rules}\nr9000: "a"'}
    tool: Any = {"type": "custom", "name": "chain", "format": format}
    with pytest.raises(openai.BadRequestError, match="may have 65536"):
        client.responses.create(model="demo", input="Go", tools=[tool])
