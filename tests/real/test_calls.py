"""A real model whose template knows no tools calls one and ends, and half of a call never looks whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from localai_flask.gallery.starter import NAME as MODEL
from tests.support.patches import PATCH, is_patch
from tests.support.server import Server

CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}}, "required": ["city"]}
NAME, DESCRIPTION = "get_weather", "Get the weather of a city"
TOOL: Any = {"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": CITY}}
ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def claude(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120) as client:
        yield client


def distinct(calls: list[tuple[str, str]]) -> bool:
    return len(set(calls)) == len(calls) and all("city" in json.loads(arguments) for _, arguments in calls)


@pytest.mark.parametrize("parallel", [None, True])
def test_a_chat_that_must_call_ends(client: openai.OpenAI, parallel: bool | None) -> None:
    more: Any = {} if parallel is None else {"parallel_tool_calls": parallel}
    made = client.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, tools=[TOOL], tool_choice="required", **more
    )
    calls = [(call.function.name, call.function.arguments) for call in made.choices[0].message.tool_calls or ()]
    assert made.choices[0].finish_reason == "tool_calls" and distinct(calls)
    assert len(calls) >= 1 if parallel else len(calls) == 1


@pytest.mark.parametrize("parallel", [None, True])
def test_a_streamed_chat_that_must_call_ends(client: openai.OpenAI, parallel: bool | None) -> None:
    more: Any = {} if parallel is None else {"parallel_tool_calls": parallel}
    with client.chat.completions.stream(
        model=MODEL, messages=ASKED, temperature=0, tools=[TOOL], tool_choice="required", **more
    ) as stream:
        made = stream.get_final_completion()
    calls = [(call.function.name, call.function.arguments) for call in made.choices[0].message.tool_calls or ()]
    assert made.choices[0].finish_reason == "tool_calls" and distinct(calls)
    assert len(calls) >= 1 if parallel else len(calls) == 1


def test_a_message_and_a_response_that_must_call_end(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model=MODEL,
        max_tokens=500,
        messages=ASKED,
        tools=[{"name": NAME, "description": DESCRIPTION, "input_schema": CITY}],
        tool_choice={"type": "any"},
        extra_body={"temperature": 0},
    )
    assert message.stop_reason == "tool_use" and [block.type for block in message.content] == ["tool_use"]
    tool: Any = {"type": "function", "name": NAME, "description": DESCRIPTION, "parameters": CITY, "strict": False}
    response = client.responses.create(model=MODEL, input=ASKED, temperature=0, tools=[tool], tool_choice="required")
    assert response.status == "completed" and [item.type for item in response.output] == ["function_call"]


def test_half_a_call_never_looks_whole(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """Wherever it is cut, each call that reads as an object is the whole one."""
    asked: Any = {"messages": ASKED, "temperature": 0, "tools": [TOOL], "tool_choice": "required", "model": MODEL}
    whole = client.chat.completions.create(**asked)
    (call,) = whole.choices[0].message.tool_calls
    tools: Any = [{"name": NAME, "description": DESCRIPTION, "input_schema": CITY}]
    halves = 0
    for limit in range(1, whole.usage.completion_tokens):
        choice = client.chat.completions.create(**asked, max_tokens=limit).choices[0]
        assert choice.finish_reason == "length" and (choice.message.content or "") in "<tool_call>"
        for cut in choice.message.tool_calls or ():
            assert cut.function.arguments == call.function.arguments or not is_json(cut.function.arguments)
            halves += cut.function.arguments != call.function.arguments
        message = claude.messages.create(
            model=MODEL,
            max_tokens=limit,
            messages=ASKED,
            tools=tools,
            tool_choice={"type": "any"},
            extra_body={"temperature": 0},
        )
        inputs = [block.input for block in message.content if block.type == "tool_use"]
        assert message.stop_reason == "max_tokens"
        assert all(given == json.loads(call.function.arguments) or "INVALID_JSON" in given for given in inputs)
    assert halves > 2


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


TURN = r"(left|right) [1-9][0-9]? \"now\"\n"
CUSTOM = {"patch": {"syntax": "lark", "definition": PATCH}, "turn": {"syntax": "regex", "definition": TURN}}


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_a_custom_tool_is_called_with_a_text_in_its_grammar(client: openai.OpenAI, name: str) -> None:
    """It is the engine that holds the text to it: the model was never trained on such calls."""
    asked: Any = {"model": MODEL, "temperature": 0}
    words = "Add a file notes.txt with the line: hello" if name == "patch" else "Turn left"
    tool: Any = {"type": "custom", "name": name, "description": words}
    format: Any = {"type": "grammar", **CUSTOM[name]}
    response = client.responses.create(
        **asked, input=words, tools=[{**tool, "format": format}], tool_choice={"type": "custom", "name": name}
    )
    (item,) = response.output
    assert item.type == "custom_tool_call" and fits(name, item.input), item
    custom = {"name": name, "description": words, "format": {"type": "grammar", "grammar": CUSTOM[name]}}
    made = client.chat.completions.create(
        **asked,
        messages=[{"role": "user", "content": words}],
        tools=[{"type": "custom", "custom": custom}],  # type: ignore[list-item]
        tool_choice="required",
    )
    (call,) = made.choices[0].message.tool_calls or ()
    assert fits(name, call.custom.input), call  # type: ignore[union-attr]


def fits(name: str, text: str) -> bool:
    return is_patch(text) if name == "patch" else re.fullmatch(TURN, text) is not None


def test_a_custom_tools_grammar_that_is_none_is_refused_with_its_line(client: openai.OpenAI) -> None:
    format: Any = {"type": "grammar", "syntax": "lark", "definition": 'start: word\nword: "a" )'}
    with pytest.raises(openai.BadRequestError, match="line 2, column 11") as caught:
        client.responses.create(
            model=MODEL,
            input="Go",
            tools=[{"type": "custom", "name": "word", "format": format}],
            tool_choice="required",
        )
    assert caught.value.param == "tools[word].format.definition"


def test_no_part_of_a_character_is_sent(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "Repeat: 🎉🚀🎉🚀🎉🚀🎉🚀🎉🚀🎉🚀", "temperature": 0, "logprobs": 0}
    whole = client.completions.create(**asked, max_tokens=24).choices[0]
    cut_within = 0
    for limit in range(1, 24):
        choice = client.completions.create(**asked, max_tokens=limit).choices[0]
        assert whole.text.startswith(choice.text) and "�" not in choice.text
        assert len(choice.logprobs.tokens) == limit
        cut_within += "�" in choice.logprobs.tokens[-1] and len(choice.text) < len(whole.text)
    assert cut_within > 3
