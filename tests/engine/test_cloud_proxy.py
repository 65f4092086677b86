"""Models of servers elsewhere: conversations and texts out, answers back, and what goes wrong on the way."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from localai_flask.backends import check, create
from localai_flask.backends.cloud_proxy.conversation import MARK
from localai_flask.backends.over_http.http_thread import MOST_LINE_BYTES
from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.images import ImageSource
from localai_flask.chat.prompt.prompt import ChatPrompt, chat_prompt
from localai_flask.config.blocks import ModelFile, ProxyOptions
from localai_flask.config.model import EngineConfig, ModelConfig
from localai_flask.config.sampling.sampling import merge
from localai_flask.errors import (
    ApiError,
    ConfigError,
    InvalidRequest,
    ModelLoadFailed,
    Unavailable,
    UnsupportedParameter,
)
from localai_flask.generation import Constraint, Delta, FinishReason, ModelInfo, Prompt, TokenLogprob, Usage
from localai_flask.inquiry import Embed, Score
from tests.support.fake_openai import KEY, FakeOpenAI
from tests.support.pictures import as_image, noise
from tests.support.served import Served

CHAT = "/v1/chat/completions"
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
Open = Callable[..., Served]


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    monkeypatch.setenv("FAR_KEY", KEY)
    fake = FakeOpenAI()
    yield fake
    fake.close()


@contextmanager
def opened(url: str, key: str = "FAR_KEY", **keys: Any) -> Iterator[Served]:
    proxy = ProxyOptions(upstream_url=url, api_key_env=key, upstream_model="far")
    engine = create("cloud-proxy")
    config = EngineConfig(**{"name": "near", "backend": "cloud-proxy", "proxy": proxy, **keys})
    engine.info = engine.load(config, lambda fraction: None)  # type: ignore[attr-defined]
    try:
        yield Served(engine)
    finally:
        engine.close()


@pytest.fixture
def served(remote: FakeOpenAI) -> Iterator[Served]:
    with opened(remote.url) as served:
        yield served


def talk(served: Served, *messages: Message, **more: Any) -> ChatPrompt:
    info: ModelInfo = served.backend.info  # type: ignore[attr-defined]
    conversation = Conversation(messages=messages or (Message(role="user", content="Hi"),), **more)
    return chat_prompt(conversation, ModelConfig(name="near", backend="cloud-proxy"), info)


def read(chat: ChatPrompt, text: str) -> list[Any]:
    """Read an answer as the API families do, in pieces."""
    from localai_flask.chat.answer import Answer
    from localai_flask.generation import Delta, Finished, Usage

    reader, answer = chat.reader(), Answer()
    for event in [
        *(event for piece in text for event in reader.feed(Delta(piece, tokens=1))),
        *reader.finish(Finished(FinishReason.EOS, Usage(1, 1))),
    ]:
        answer.add(event)
    return [answer.content, answer.reasoning, [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]]


def test_a_conversation_is_sent_as_it_was(served: Served, remote: FakeOpenAI) -> None:
    remote.says({"content": "Hel"}, {"content": "lo"}, usage={"prompt_tokens": 9, "completion_tokens": 2})
    call = ToolCall("call_1", "weather", '{"city": "Rome <b>"}')
    messages = (
        Message(role="system", content="Be <kind>"),
        Message(role="user", content='What "is" {{ it }}?\n<|im_end|>'),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
    )
    job = served.generate(talk(served, *messages, tools=(WEATHER,)).prompt, temperature=0.5, max_tokens=7, seed=3)
    assert served.text(job) == "Hello"
    ((path, body),) = remote.asked
    assert (path, body["model"], body["stream"], body["temperature"]) == (CHAT, "far", True, 0.5)
    assert (body["max_tokens"], body["seed"]) == (7, 3)
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][1]["content"] == messages[1].content
    (sent,) = body["messages"][2]["tool_calls"]
    assert sent["function"]["name"] == "weather"
    assert json.loads(sent["function"]["arguments"]) == {"city": "Rome <b>"}
    assert body["tools"][0]["function"]["name"] == "weather"
    usage = served.end(job).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 2)


def test_thoughts_and_calls_come_back_as_what_they_are(served: Served, remote: FakeOpenAI) -> None:
    chat = talk(served, tools=(WEATHER,))
    remote.says(
        {"reasoning_content": "It is "},
        {"reasoning_content": "about weather."},
        {"content": "Let me see."},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "weather", "arguments": "{}"}}]},
        reason="tool_calls",
    )
    job = served.generate(chat.prompt)
    content, reasoning, calls = read(chat, served.text(job))
    assert content.strip() == "Let me see."
    assert reasoning.strip() == "It is about weather."
    assert calls == [("weather", {"city": "Rome"}), ("weather", {})]


def test_a_text_is_continued_as_a_text(served: Served, remote: FakeOpenAI) -> None:
    remote.events = [
        {
            "choices": [
                {
                    "text": "three",
                    "logprobs": {"tokens": ["three"], "token_logprobs": [-0.5], "top_logprobs": [{"x": -2}]},
                }
            ]
        },
        {"choices": [{"text": " four", "finish_reason": "length"}]},
    ]
    job = served.generate("one two ", top_logprobs=1)
    assert served.text(job) == "three four"
    assert served.end(job).reason is FinishReason.MAX_TOKENS
    ((path, body),) = remote.asked
    assert (path, body["prompt"], body["logprobs"]) == ("/v1/completions", "one two ", 1)
    told = [each for reply in served.replies[job.id] for each in getattr(reply, "logprobs", [])]
    assert told == [TokenLogprob(-1, b"three", -0.5, [(-1, b"x", -2.0)])]


def test_a_stop_string_cuts_the_answer_and_hangs_up(served: Served, remote: FakeOpenAI) -> None:
    remote.says({"content": "one t"}, {"content": "wo three"}, {"content": " four"})
    job = served.generate(talk(served).prompt, stop=("two",))
    assert served.text(job) == "one "
    assert served.end(job).stop_sequence == "two"
    assert "stop" not in remote.asked[0][1]


def test_a_form_is_asked_of_chats_alone(served: Served, remote: FakeOpenAI) -> None:
    remote.says({"content": "{}"})
    form = Constraint("json_schema", '{"type": "object", "properties": {}}', "response_format")
    served.generate(talk(served).prompt, constraint=form)
    asked = remote.asked[0][1]["response_format"]
    assert asked["type"] == "json_schema" and asked["json_schema"]["schema"]["type"] == "object"
    with pytest.raises(UnsupportedParameter, match="A form for a text that is no chat"):
        served.start("text", constraint=form)


@pytest.mark.parametrize(("owner", "is_sent"), [("vllm", True), ("openai", False)])
def test_further_parameters_are_for_servers_that_have_them(remote: FakeOpenAI, owner: str, is_sent: bool) -> None:
    remote.models[0]["owned_by"] = owner
    remote.says({"content": "x"})
    with opened(remote.url) as served:
        if is_sent:
            served.generate(talk(served).prompt, min_p=0.1)
            assert remote.asked[0][1]["min_p"] == 0.1 and "top_k" not in remote.asked[0][1]
        else:
            with pytest.raises(UnsupportedParameter, match="`min_p` is not supported by the server elsewhere"):
                served.start(talk(served).prompt, min_p=0.1)


def test_what_nobody_asks_for_is_left_to_the_server(remote: FakeOpenAI) -> None:
    remote.models[0]["owned_by"] = "openai"
    remote.says({"content": "x"})
    config = ModelConfig(name="llama-3.1-8b", backend="cloud-proxy")
    nothing = msgspec.structs.asdict(merge(config, {}))
    with opened(remote.url) as served:
        served.generate(talk(served).prompt, **nothing)
        assert not {"temperature", "top_p", "top_k", "min_p", "seed", "max_tokens"} & remote.asked[0][1].keys()


def test_an_answer_that_is_to_be_continued_is_refused(served: Served) -> None:
    chat = talk(
        served,
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        continued_by="continue_final_message",
    )
    with pytest.raises(InvalidRequest, match="cannot go on with the assistant's last message"):
        served.start(chat.prompt)


@pytest.mark.parametrize("text", ["{}", "[]", '{"messages": [1]}', "[" * 100_000])
def test_a_text_that_begins_like_a_conversation_is_refused(served: Served, text: str) -> None:
    with pytest.raises(InvalidRequest, match="end the messages with the user's"):
        served.start(MARK + text)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (400, "bad temperature", (400, "invalid_request")),
        (429, "slow down", (503, "overloaded")),
        (503, "loading", (503, "overloaded")),
        (500, "boom", (503, "unavailable")),
        (404, "no such path", (503, "unavailable")),
    ],
)
def test_errors_are_told_in_the_servers_words(
    served: Served, remote: FakeOpenAI, status: int, said: str, expected: tuple[int, str]
) -> None:
    remote.answers[CHAT] = (status, {"error": {"message": said}})
    info = served.failure(served.generate(talk(served).prompt)).error
    assert (info.status, info.code) == expected
    assert said in info.message and "which answers for model near" in info.message


def test_a_stream_that_breaks_off_is_an_error(served: Served, remote: FakeOpenAI) -> None:
    remote.events = [{"choices": [{"index": 0, "delta": {"content": "half"}}]}]
    info = served.failure(served.generate(talk(served).prompt)).error
    assert info.status == 503 and "ended its answer in the middle" in info.message


@pytest.mark.parametrize("code", [500, "500", "server_error", None])
def test_an_error_within_a_stream_is_one(served: Served, remote: FakeOpenAI, code: Any) -> None:
    remote.events = [{"error": {"message": "out of memory", "code": code}}]
    assert "out of memory" in served.failure(served.generate(talk(served).prompt)).error.message


@pytest.mark.parametrize("told", [{"prompt_tokens": -7, "completion_tokens": "x"}, {"prompt_tokens": 10**15}])
def test_counts_that_cannot_be_are_none(served: Served, remote: FakeOpenAI, told: Any) -> None:
    remote.says({"content": "x"}, usage=told)
    assert served.end(served.generate(talk(served).prompt)).usage == Usage(0, 0)


def test_a_line_without_an_end_fails_its_request_alone(served: Served, remote: FakeOpenAI) -> None:
    remote.says({"content": "a" * (2 * MOST_LINE_BYTES)})
    assert "sent what cannot be read" in served.failure(served.generate(talk(served).prompt)).error.message
    remote.says({"content": "x"})
    assert served.text(served.generate(talk(served).prompt)) == "x"


def test_a_flood_is_handed_on_in_messages_that_can_be_sent(served: Served, remote: FakeOpenAI) -> None:
    remote.says(*[{"content": "a" * (MOST_LINE_BYTES // 2)}] * 8)
    job = served.start(talk(served).prompt)
    time.sleep(1.0)  # all of it has come by then, most likely; if not, this test holds too
    steps = []
    while not served.backend.is_idle:
        steps.append([reply for _, reply in served.backend.step()])
    assert max(sum(len(each.text) for each in step if isinstance(each, Delta)) for step in steps) < MOST_LINE_BYTES
    assert sum(len(each.text) for step in steps for each in step if isinstance(each, Delta)) == 4 * MOST_LINE_BYTES
    assert job.usage == Usage(9, 3)


def test_a_key_that_the_server_quotes_is_not_handed_on(served: Served, remote: FakeOpenAI) -> None:
    remote.answers[CHAT] = (400, {"error": {"message": f"Wrong project for Bearer {KEY}"}})
    said = served.failure(served.generate(talk(served).prompt)).error.message
    assert "Wrong project for Bearer …" in said and KEY not in said


def test_entries_of_a_list_that_name_no_model_are_passed_over(remote: FakeOpenAI) -> None:
    remote.models += [{"id": {"a": 1}}, {"id": None}, {}]
    with opened(remote.url):
        pass


def test_an_event_may_have_an_empty_error_and_any_character(served: Served, remote: FakeOpenAI) -> None:
    text = "a\u2028b\x85c\u2029d"
    remote.says({"content": text})
    for event in remote.events:
        event["error"] = None
    assert served.text(served.generate(talk(served).prompt)) == text


def test_vectors_and_scores(remote: FakeOpenAI) -> None:
    remote.answers["/v1/embeddings"] = (200, {"data": [{"embedding": [0.5, 1.5]}], "usage": {"prompt_tokens": 4}})
    remote.answers["/v1/rerank"] = (200, {"results": [{"index": 0, "relevance_score": 0.25}]})
    with opened(remote.url, embeddings=True) as served:
        embedded = served.ask(Embed(Prompt("text")))
        assert np.frombuffer(embedded.data, np.float32).tolist() == [0.5, 1.5]
        assert (embedded.dimension, embedded.tokens) == (2, 4)
        assert served.backend.info.capabilities == {"embed"}  # type: ignore[attr-defined]
    with opened(remote.url, reranking=True) as served:
        assert served.ask(Score("q", "d")).score == 0.25


@pytest.mark.parametrize(
    ("field", "expected"), [({"max_model_len": 99}, 99), ({"meta": {"n_ctx_train": 77}}, 77), ({}, 128 * 1024)]
)
def test_the_context_is_what_the_server_says(remote: FakeOpenAI, field: Any, expected: int) -> None:
    remote.models[0] |= field
    with opened(remote.url) as served:
        assert served.backend.info.context_length == expected  # type: ignore[attr-defined]
    remote.answers["/v1/models"] = (200, remote.models)
    with opened(remote.url) as served:
        assert served.backend.info.context_length == expected, "a list alone"  # type: ignore[attr-defined]
    with opened(remote.url, context_size=50) as served:
        assert served.backend.info.context_length == 50  # type: ignore[attr-defined]


def fails(url: str, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as failure, opened(url, **more):
        pass
    return failure.value


def test_a_server_that_cannot_serve_is_told_at_once(
    remote: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OTHER_KEY", "sk-secret-key")
    refused = fails(remote.url, key="OTHER_KEY")
    assert isinstance(refused, ConfigError) and "does not accept the key" in str(refused)
    assert "sk-secret" not in str(refused) and "sk-secret" not in caplog.text
    assert "names NO_KEY, which is not set" in str(fails(remote.url, key="NO_KEY"))
    remote.models = [{"id": "other"}]
    assert isinstance(error := fails(remote.url), ModelLoadFailed)
    assert "has no model 'far'; it has: other" in str(error)
    assert isinstance(gone := fails("http://127.0.0.1:9"), Unavailable) and "cannot be reached" in str(gone)
    remote.answers["/v1/models"] = (404, {})
    with opened(remote.url + "/v1/chat/completions"):
        pass


@pytest.mark.parametrize("key", ["sk-secret\nanother", "sk-secret-ü", "sk-secret\0"])
def test_what_is_no_key_is_refused_and_not_told(
    remote: FakeOpenAI, tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text(key)
    proxy = ProxyOptions(upstream_url=remote.url, api_key_file=str(tmp_path / "key"), upstream_model="far")
    refused = fails(remote.url, proxy=proxy)
    assert isinstance(refused, ConfigError) and "what `proxy.api_key_file` names is no key" in str(refused)
    assert "sk-secret" not in str(refused) and "sk-secret" not in caplog.text


def test_a_certificate_that_is_not_trusted_is_one_sentence(remote: FakeOpenAI) -> None:
    said = str(fails(remote.url.replace("http:", "https:")))
    assert "cannot be reached" in said and "SSL" in said and "\n" not in said


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ({}, "`proxy.upstream_url` is missing"),
        ({"upstream_url": "ftp://a"}, "is no address of the web"),
        ({"upstream_url": "http://[abc/v1"}, "is no address of the web"),
        ({"upstream_url": "http://a:99999/v1"}, "is no address of the web"),
        ({"upstream_url": "http://a:b/v1"}, "is no address of the web"),
        ({"upstream_url": "http://a:0/v1"}, "is no address of the web"),
        ({"upstream_url": "http://a b/v1"}, "is no address of the web"),
        ({"upstream_url": "http://a\nb/v1"}, "is no address of the web"),
        ({"upstream_url": "https://key@host/v1"}, "has a key or a query in it"),
        ({"upstream_url": "https://a", "provider": "anthropic"}, "has to speak OpenAI's API"),
        ({"upstream_url": "https://a", "api_key_env": "A", "api_key_file": "b"}, "both name the key"),
    ],
)
def test_what_is_wrong_with_a_yaml_is_found_without_the_server(proxy: Any, said: str) -> None:
    config = EngineConfig(name="m", backend="cloud-proxy", parameters=ModelFile(), proxy=ProxyOptions(**proxy))
    assert [said in note.text for note in check(config) if note.is_fault] == [True]


@pytest.mark.parametrize("entry", ["parallel:0", "parallel:many", "parallel"])
def test_requests_at_once_are_a_number(entry: str) -> None:
    proxy = ProxyOptions(upstream_url="https://a")
    notes = check(EngineConfig(name="m", backend="cloud-proxy", proxy=proxy, options=(entry,)))
    assert ["is a whole number from 1 on" in note.text for note in notes if note.is_fault] == [True]


def shown(served: Served, *messages: Message) -> Prompt:
    """Return the prompt of a conversation with images, whose marks stand in the messages' texts."""
    info: ModelInfo = served.backend.info  # type: ignore[attr-defined]
    images = {source.key: source for message in messages for source in message.images.values()}
    opened = {key: as_image(source.data) for key, source in images.items()}
    config = ModelConfig(name="near", backend="cloud-proxy")
    return chat_prompt(Conversation(messages=messages), config, info, opened).prompt


def seen(role: str, text: str, *pictures: bytes, **more: Any) -> Message:
    """Make a message with a picture at each `@`."""
    sources = [ImageSource("image_url", data=data) for data in pictures]
    for source in sources:
        text = text.replace("@", source.mark, 1)
    return Message(role=role, content=text, images={source.key: source for source in sources}, **more)


def url_of(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}}


@pytest.mark.parametrize(("owner", "in_results"), [("somebody", False), ("llamacpp", True)])
def test_images_are_sent_in_their_places(remote: FakeOpenAI, owner: str, in_results: bool) -> None:
    remote.models = [{"id": "far", "owned_by": owner}]
    remote.says({"content": "ok"}, usage={"prompt_tokens": 99, "completion_tokens": 1})
    one, two, three = noise(1), noise(2), noise(3)
    call = ToolCall("call_1", "weather", "{}")
    messages = (
        seen("user", 'a "quoted" \u00e9\n@ and @@ end', one, two, one),
        Message(role="assistant", content="", tool_calls=(call,)),
        seen("tool", "the map: @", three, tool_call_id="call_1"),
        Message(role="user", content="plain"),
    )
    with opened(remote.url) as served:
        job = served.generate(shown(served, *messages))
        assert served.text(job) == "ok" and served.end(job).usage.prompt_tokens == 99
    sent = remote.asked[0][1]["messages"]
    text = lambda said: {"type": "text", "text": said}  # noqa: E731
    assert sent[0]["content"] == [
        text('a "quoted" \u00e9\n'), url_of(one), text(" and "), url_of(two), url_of(one), text(" end"),
    ]  # fmt: skip
    if in_results:
        assert [each["role"] for each in sent] == ["user", "assistant", "tool", "user"]
        assert sent[2]["content"] == [text("the map: "), url_of(three)]
    else:
        assert [each["role"] for each in sent] == ["user", "assistant", "tool", "user", "user"]
        assert sent[2]["content"] == "the map: [image]" and sent[3]["content"][1:] == [url_of(three)]
    assert sent[-1]["content"] == "plain"


@pytest.mark.parametrize(
    ("said", "sees"),
    [
        ({}, True),
        ({"architecture": {"input_modalities": ["text"]}}, False),
        ({"architecture": {"input_modalities": ["text", "image"]}}, True),
        ({"capabilities": {"vision": False}}, False),
        ({"capabilities": ["chat", "completion", "tokenize"]}, False),
        ({"capabilities": ["chat", "completion", "vision"]}, True),
        ({"capabilities": ["text-generation"]}, True),
    ],
)
def test_a_model_sees_unless_its_server_says_otherwise(remote: FakeOpenAI, said: Any, sees: bool) -> None:
    remote.models = [{"id": "far", "owned_by": "somebody", **said}]
    with opened(remote.url) as served:
        assert ("image" in served.backend.info.capabilities) is sees  # type: ignore[attr-defined]


def test_llama_server_says_in_a_second_list_what_a_model_sees(remote: FakeOpenAI) -> None:
    models = [{"name": "far", "model": "far", "capabilities": ["completion"]}]
    remote.answers["/v1/models"] = 200, {"models": models, "data": [{"id": "far", "owned_by": "llamacpp"}]}
    with opened(remote.url) as served:
        assert "image" not in served.backend.info.capabilities  # type: ignore[attr-defined]
    models[0]["capabilities"] = ["completion", "multimodal"]
    with opened(remote.url) as served:
        assert "image" in served.backend.info.capabilities  # type: ignore[attr-defined]
    with opened(remote.url, limit_mm_per_prompt={"image": 0}) as served:
        assert "image" not in served.backend.info.capabilities  # type: ignore[attr-defined]
