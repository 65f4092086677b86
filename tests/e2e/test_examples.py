"""The documentation's examples on the demo model, through the official client."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.support.server import Server

GET_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "The city"}},
            "required": ["location"],
        },
    },
}


def chat(client: openai.OpenAI, *messages: Any, **options: Any) -> Any:
    turns = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return client.chat.completions.create(model="demo", messages=turns, temperature=0, **options)


def streamed(client: openai.OpenAI, *messages: Any, **options: Any) -> tuple[str, list[Any]]:
    chunks = list(chat(client, *messages, stream=True, **options))
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks


def test_say_this_is_a_test(client: openai.OpenAI) -> None:
    answer = chat(client, "Say this is a test!")
    assert answer.choices[0].message.content == "This is a test!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert streamed(client, "Say this is a test!")[0] == "This is a test!"


def test_how_are_you(client: openai.OpenAI) -> None:
    assert "fine" in chat(client, "How are you?").choices[0].message.content.lower()


@pytest.mark.parametrize("prompt", ["Tell me a story", "Tell me a story."])
def test_tell_me_a_story(client: openai.OpenAI, prompt: str) -> None:
    story = chat(client, prompt).choices[0].message.content
    assert len(story.split()) > 25
    assert story.rstrip()[-1] in '.!?"'


def test_completions(client: openai.OpenAI) -> None:
    for prompt in ("A long time ago in a galaxy far, far away", "Hello, my name is"):
        answer = client.completions.create(model="demo", prompt=prompt, temperature=0, max_tokens=200)
        assert len(answer.choices[0].text.split()) > 3
        assert answer.choices[0].finish_reason in ("stop", "length")
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        pieces = client.completions.create(model="demo", prompt=prompt, temperature=0, max_tokens=200, stream=True)
        assert len("".join(piece.choices[0].text for piece in pieces if piece.choices).split()) > 3


def test_edits(server: Server) -> None:
    body = {
        "model": "demo",
        "instruction": "rephrase",
        "input": "Black cat jumped out of the window",
        "temperature": 0,
    }
    status, answer = server.post("/v1/edits", body)
    assert status == 200
    text = answer["choices"][0]["text"].lower()
    assert text.strip() != body["input"]
    assert "cat" in text
    assert "window" in text


@pytest.mark.parametrize("city", ["San Francisco", "Boston", "Paris", "Beijing", "Kitzbuhel"])
def test_weather_calls_the_tool_and_answers_from_its_result(client: openai.OpenAI, city: str) -> None:
    question = f"What is the weather like in {city}?"
    answer = chat(client, question, tools=[GET_WEATHER])
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"location": city}
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 22, "description": "sunny"}'}
    final = chat(client, question, choice.message.model_dump(exclude_none=True), result, tools=[GET_WEATHER])
    assert "22" in final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


def test_a_streamed_tool_call_equals_the_whole_one(client: openai.OpenAI) -> None:
    text, chunks = streamed(
        client,
        "What is the weather like in San Francisco?",
        tools=[GET_WEATHER],
        stream_options={"include_usage": True},
    )
    assert text == ""
    deltas = [d for c in chunks if c.choices for d in c.choices[0].delta.tool_calls or []]
    assert [d.function.name for d in deltas if d.function.name] == ["get_weather"]
    assert len({d.id for d in deltas if d.id}) == 1
    assert json.loads("".join(d.function.arguments or "" for d in deltas)) == {"location": "San Francisco"}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert len({(c.id, c.created) for c in chunks}) == 1


def test_max_tokens_ends_with_length(client: openai.OpenAI) -> None:
    answer = chat(client, "Tell me a story", max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_a_stop_string_is_not_shown(client: openai.OpenAI) -> None:
    answer = chat(client, "Say this is a test!", stop=["a te"])
    assert answer.choices[0].message.content == "This is "
    assert answer.choices[0].finish_reason == "stop"
    assert streamed(client, "Say this is a test!", stop=["a te"])[0] == "This is "


def test_sixteen_streams_at_once_equal_one_alone(client: openai.OpenAI) -> None:
    # Questions with one answer: where two words are all but equally likely, a batch's rounding may choose the other.
    questions = ["Say this is a test!", "How are you?", "Who are you?", "What is the capital of France?"] * 4
    alone = {question: chat(client, question).choices[0].message.content for question in set(questions)}
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda question: streamed(client, question)[0], questions))
    assert together == [alone[question] for question in questions]


def test_a_bare_gguf_is_listed_and_served(client: openai.OpenAI) -> None:
    assert "bare.gguf" in [model.id for model in client.models.list()]
    assert client.models.retrieve("bare.gguf").id == "bare.gguf"
    messages: Any = [{"role": "user", "content": "Say this is a test!"}]
    answer = client.chat.completions.create(model="bare.gguf", messages=messages, temperature=0)
    assert answer.choices[0].message.content == "This is a test!"


def test_the_model_may_be_named_in_many_ways(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert server.post("/chat/completions?model=echo", body)[1]["model"] == "echo"
    assert server.post("/v1/engines/echo/completions", {"prompt": "hi"})[1]["choices"][0]["text"] == "hi"
    headers = {"Authorization": "Bearer echo"}
    assert server.post("/v1/chat/completions", body, headers)[1]["choices"][0]["message"]["content"] == "hi"
    assert server.post("/v1/chat/completions", body)[1]["model"] == "demo"


def test_a_list_of_prompts_and_n(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="echo", prompt=["one", "two"], n=2, echo=True)
    assert [choice.text for choice in answer.choices] == ["oneone", "oneone", "twotwo", "twotwo"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
