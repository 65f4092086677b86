"""What cannot work says why in one sentence, fast, in OpenAI's shape, while the other models serve."""

from __future__ import annotations

import time

import pytest

from tests.support.server import Server

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello!"}]

BROKEN = {
    "garbage.gguf": "web page",
    "truncated.gguf": "cut off",
    "missing": "nowhere.gguf",
    "broken": "line 2",
    "typo": "temperature",
}


@pytest.mark.parametrize("model", list(BROKEN))
def test_a_model_that_cannot_be_loaded_says_why(server: Server, model: str) -> None:
    server.await_quiet(model)
    begun = time.monotonic()
    status, answer = server.post(CHAT, {"model": model, "messages": HELLO})
    assert time.monotonic() - begun < 2
    assert status == 422
    message = answer["error"]["message"]
    assert BROKEN[model] in message
    assert "\n" not in message
    assert answer["error"]["code"] in ("model_config_invalid", "model_load_failed")
    assert BROKEN[model] in server.log() or model in ("broken", "typo")
    assert server.post(CHAT, {"model": "echo", "messages": HELLO})[0] == 200


def test_an_unknown_architecture_is_named(server: Server, models_path: object) -> None:
    from tests.support.gguf_models import random_llama

    random_llama(models_path / "alien.gguf", architecture="alien")  # type: ignore[operator]
    server.await_quiet("alien.gguf")
    status, answer = server.post(CHAT, {"model": "alien.gguf", "messages": HELLO})
    assert status == 422
    assert "alien" in answer["error"]["message"]


def test_a_prompt_longer_than_the_context_names_both_numbers(server: Server) -> None:
    status, answer = server.post(CHAT, {"model": "demo", "messages": [{"role": "user", "content": "word " * 20_000}]})
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    numbers = [int(word) for word in answer["error"]["message"].replace(";", " ").split() if word.isdigit()]
    assert len(numbers) == 2
    assert numbers[0] == 2048 < numbers[1]


REFUSED = [
    (b"{", "invalid_json", None),
    ({"model": "echo"}, None, "messages"),
    ({"model": "echo", "messages": []}, None, "messages"),
    ({"model": "echo", "messages": "hi"}, None, "messages"),
    ({"model": "echo", "messages": HELLO, "temperature": "hot"}, None, "temperature"),
    ({"model": "echo", "messages": HELLO, "max_tokens": 0}, None, "max_tokens"),
    ({"model": "echo", "messages": HELLO, "stop": 5}, None, "stop"),
    ({"model": "echo", "messages": [{"role": "wizard", "content": "x"}]}, None, "messages[0].role"),
    ({"model": "echo", "messages": HELLO, "response_format": {"type": "json_object"}}, None, "response_format"),
]


@pytest.mark.parametrize(("body", "code", "param"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_a_400_that_names_the_field(server: Server, body: object, code: str | None, param: str) -> None:
    status, answer = server.post(CHAT, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    if param:
        assert answer["error"]["param"] == param


def test_an_unknown_model_is_a_404_that_lists_what_there_is(server: Server) -> None:
    status, answer = server.post(CHAT, {"model": "dmeo", "messages": HELLO})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert "demo" in answer["error"]["message"]


def test_unknown_paths_and_wrong_methods_are_openai_errors(server: Server) -> None:
    status, answer = server.post("/v1/nothing", {})
    assert (status, answer["error"]["type"]) == (404, "invalid_request_error")
    status, answer = server.post("/version", {})
    assert (status, answer["error"]["type"]) == (405, "invalid_request_error")
    assert server.post("/healthz", {})[0] == 405
