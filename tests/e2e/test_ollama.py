"""Ollama's API through its official Python package and LangChain's integration, beside the other families' answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import ollama
import openai
import pytest
from langchain_ollama import ChatOllama, OllamaEmbeddings
from pydantic import BaseModel

from tests.support.server import Server

SAY = [{"role": "user", "content": "Say this is a test!"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
GREEDY = {"temperature": 0}


def get_weather(location: str) -> str:
    """Get the current weather in a city.

    Args:
        location: The city
    """
    return f"Rain in {location}"


@pytest.fixture
def theirs(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url, timeout=60) as client:
        yield client


def test_answers_are_those_of_chat_completions(theirs: ollama.Client, client: openai.OpenAI) -> None:
    ours = client.chat.completions.create(model="demo", messages=SAY, temperature=0)  # type: ignore[arg-type]
    whole = theirs.chat("demo:latest", messages=SAY, options=GREEDY)
    parts = list(theirs.chat("demo", messages=SAY, options=GREEDY, stream=True))
    assert whole.message.content == ours.choices[0].message.content == "This is a test!"
    assert "".join(part.message.content or "" for part in parts) == whole.message.content and len(parts) > 1
    assert ours.usage is not None
    for end in (whole, parts[-1]):
        assert (end.prompt_eval_count, end.eval_count) == (ours.usage.prompt_tokens, ours.usage.completion_tokens)
        assert end.done_reason == "stop" and end.total_duration and end.eval_duration
        assert end.eval_duration + (end.prompt_eval_duration or 0) + (end.load_duration or 0) <= end.total_duration


async def test_tools_to_their_end(server: Server) -> None:
    async with ollama.AsyncClient(host=server.url, timeout=60) as client:
        talk: list[ollama.Message] = [ollama.Message(**message) for message in WEATHER]
        asked = await client.chat("demo", messages=talk, tools=[get_weather], options=GREEDY)
        (call,) = asked.message.tool_calls or ()
        assert (call.function.name, call.function.arguments) == ("get_weather", {"location": "Paris"})
        result = ollama.Message(role="tool", content=get_weather(**call.function.arguments), tool_name="get_weather")
        done = await client.chat("demo", messages=[*talk, asked.message, result], tools=[get_weather], options=GREEDY)
        assert done.message.content and not done.message.tool_calls


def test_models_by_their_names(theirs: ollama.Client, server: Server) -> None:
    listed = {model.model: model for model in theirs.list().models}
    assert listed["demo:latest"].size and len(listed["demo:latest"].digest or "") == 64
    assert "demo:latest" in [model.model for model in theirs.ps().models]
    shown = theirs.show("demo")
    assert shown.capabilities and "completion" in shown.capabilities and shown.modelinfo
    assert theirs.copy("demo", "copied").status == "success"
    assert theirs.generate("copied", prompt="Say this is a test!", options=GREEDY).response == "This is a test!"
    assert theirs.delete("copied:latest").status == "success"
    with pytest.raises(ollama.ResponseError) as gone:
        theirs.chat("copied", messages=SAY)
    assert gone.value.status_code == 404


def test_nothing_to_say_loads_and_unloads(theirs: ollama.Client) -> None:
    assert theirs.generate("bare").done_reason == "load"
    assert "bare.gguf:latest" in [model.model for model in theirs.ps().models]
    assert theirs.generate("bare", keep_alive=0).done_reason == "unload"
    assert theirs.chat("demo", messages=SAY, options=GREEDY).message.content == "This is a test!"


def test_a_failure_in_the_stream_is_an_exception(theirs: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="maximum context length"):
        list(theirs.chat("demo", messages=[{"role": "user", "content": "x " * 100_000}], stream=True))


class City(BaseModel):
    name: str


@pytest.mark.filterwarnings("default")
def test_langchain(server: Server) -> None:
    model = ChatOllama(model="demo", base_url=server.url, temperature=0, validate_model_on_init=True)
    said = model.invoke("Say this is a test!")
    assert said.content == "This is a test!" and said.usage_metadata
    assert "".join(str(part.content) for part in model.stream("Say this is a test!")) == said.content
    called = model.bind_tools([get_weather]).invoke("What is the weather in Paris?")
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("get_weather", {"location": "Paris"})]
    formed = model.bind(format=City.model_json_schema()).invoke("A city")
    assert set(json.loads(str(formed.content))) == {"name"}
    embeddings = OllamaEmbeddings(model="echo", base_url=server.url)
    vectors = embeddings.embed_documents(["a", "b"])
    assert len(vectors) == 2 and vectors[0] != vectors[1]
    for used in (model, embeddings):
        used._client.close()  # type: ignore[union-attr]  # as the integration leaves its connections open
