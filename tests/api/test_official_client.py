"""The official openai package against the application: what it parses, and what it makes of errors."""

from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
from flask import Flask

from localai_flask.errors import ApiError, LoadCrashed, ModelLoadFailed, Unavailable
from localai_flask.generation import Delta, Started
from tests.api.fakes import FakePool, says

httpx = pytest.importorskip("httpx2")
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


@pytest.fixture
def api(app: Flask) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(transport=httpx.WSGITransport(app=app))
    with openai.OpenAI(base_url="http://test/v1", api_key="none", http_client=http, max_retries=0) as client:
        yield client


def test_chat(api: openai.OpenAI, pool: FakePool) -> None:
    pool.scripts = [says("Hi", "!")]
    completion = api.chat.completions.create(model="tiny", messages=HELLO)
    assert completion.choices[0].message.content == "Hi!"
    assert completion.usage.total_tokens == 7


def test_stream_with_tools(api: openai.OpenAI, pool: FakePool) -> None:
    pool.scripts = [says("Let", " me", " see.", *CALL)]
    with api.chat.completions.stream(model="tiny", messages=HELLO, tools=[TOOL]) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0]
    assert message.finish_reason == "tool_calls" and message.message.content == "Let me see."
    assert message.message.tool_calls[0].function.arguments == '{"a": 1}'


def test_completion_stream(api: openai.OpenAI, pool: FakePool) -> None:
    pool.scripts = [says("b", "c")]
    stream = api.completions.create(model="tiny", prompt="a", stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "bc"
    assert chunks[-1].usage.completion_tokens == 2


def test_models(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == ["tiny"]
    assert api.models.retrieve("tiny").object == "model"


def test_errors(api: openai.OpenAI, pool: FakePool) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        api.chat.completions.create(model="nope", messages=HELLO)
    assert missing.value.code == "model_not_found" and missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as wrong:
        api.chat.completions.create(model="tiny", messages=HELLO, temperature=-1)
    assert wrong.value.param == "temperature"
    pool.scripts = [[Started(1), Delta("a"), Unavailable("The worker died.")]]
    with pytest.raises(openai.APIError, match="The worker died"):
        list(api.chat.completions.create(model="tiny", messages=HELLO, stream=True))


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (None, 422, "model_config_invalid"),
        (ModelLoadFailed("no such tensor"), 422, "model_load_failed"),
        (LoadCrashed("killed by SIGILL"), 500, "model_load_failed"),
    ],
)
def test_nobody_asks_again_for_a_broken_model(
    app: Flask, pool: FakePool, models: Path, failure: ApiError | None, status: int, code: str
) -> None:
    (models / "broken.yaml").write_text("name: broken\ncontext_size: many\n")
    model = "tiny" if failure else "broken"
    asked = []

    class Counting(httpx.WSGITransport):
        def handle_request(self, request: object) -> object:
            asked.append(request)
            pool.loading = [failure] if failure else []
            return super().handle_request(request)

    transport = Counting(app=app)
    with (
        openai.OpenAI(
            base_url="http://test/v1", api_key="none", http_client=openai.DefaultHttpxClient(transport=transport)
        ) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=model, messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    with (
        anthropic.Anthropic(
            base_url="http://test", api_key="none", http_client=anthropic.DefaultHttpxClient(transport=transport)
        ) as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(model=model, messages=HELLO, max_tokens=5)
    assert caught.value.status_code == status
    assert caught.value.body["error"]["type"] == ("api_error" if status == 500 else "invalid_request_error")
    assert len(asked) == 2
