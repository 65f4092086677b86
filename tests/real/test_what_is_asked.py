"""A real model ends at a stop string, refuses what does not fit its context, and answers to the names of its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from localai_flask.gallery.starter import NAME as SMOLLM2
from tests.support.server import Server

pytestmark = pytest.mark.timeout(600)  # the models may have to be fetched first

CONTEXT = 8192


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=110) as client:
        yield client


def ask(client: OpenAI, content: str, **settings: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    answer = client.chat.completions.create(model=SMOLLM2, messages=messages, **{"max_tokens": 64} | settings)
    return answer.choices[0]


def test_a_stop_string_ends_the_answer(client: OpenAI) -> None:
    whole = ask(client, "What is the capital of Germany?").message.content
    assert " is " in whole
    answer = ask(client, "What is the capital of Germany?", stop=[" is "])
    assert (answer.message.content, answer.finish_reason) == (whole.partition(" is ")[0], "stop")


def test_a_conversation_longer_than_the_context_names_both_numbers(server: Server, client: OpenAI) -> None:
    turns = [
        {"role": "user" if turn % 2 == 0 else "assistant", "content": f"{turn}: the sea is deep and blue. " * 30}
        for turn in range(41)
    ]
    with Anthropic(base_url=server.url, api_key="none", max_retries=0) as claude:
        counted = claude.messages.count_tokens(model=SMOLLM2, messages=turns).input_tokens  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=SMOLLM2, messages=turns, max_tokens=8)  # type: ignore[arg-type]
    error: Any = raised.value.body
    assert error["code"] == "context_length_exceeded" and counted > CONTEXT
    assert f"context length is {CONTEXT} tokens, but the prompt has {counted}" in error["message"]


def test_names_of_the_file_are_names_of_the_model(client: OpenAI) -> None:
    assert client.models.retrieve(f"{SMOLLM2}.Q4_1.gguf").id == SMOLLM2
