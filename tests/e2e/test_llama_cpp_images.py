"""GGUF models that see, as users have them: dropped into a folder with their projectors, asked by official clients."""

from __future__ import annotations

import base64
import concurrent.futures
from collections.abc import Iterator
from typing import Any

import anthropic
import numpy as np
import openai
import pytest

from tests.e2e.conftest import MODELS
from tests.support.gguf_projectors import IMAGE_SIZE, seeing_model
from tests.support.pictures import noise
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    for kind in IMAGE_SIZE:
        seeing_model(models / kind, kind)
    (models / "blind.gguf").symlink_to(MODELS / "demo.gguf")
    with Server(models, tmp_path_factory.mktemp("server")) as server:
        yield server


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def shown(data: bytes, kind: str = "image_url") -> Any:
    url = f"data:image/png;base64,{coded(data)}"
    return {"type": kind, "image_url": {"url": url} if kind == "image_url" else url}


def ask(client: openai.OpenAI, model: str, *images: bytes, text: str = "what?", **more: Any) -> Any:
    parts: Any = [*map(shown, images), {"type": "text", "text": text}]
    given = {"max_tokens": 8, "temperature": 0} | more
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}], **given)


@pytest.mark.parametrize("kind", IMAGE_SIZE)
def test_chat_completions(client: openai.OpenAI, kind: str) -> None:
    model = f"{kind}/tiny.gguf"
    said: Any = client.models.retrieve(model)
    assert "vision" in said.capabilities and said.architecture["input_modalities"] == ["text", "image"]
    first, again, other = (
        ask(client, model, noise(seed), logprobs=True, top_logprobs=5, n=2 if seed else 1) for seed in (0, 0, 1)
    )
    begun = [each.choices[0].logprobs.content[0].top_logprobs for each in (first, again, other)]
    assert [top.logprob for top in begun[0]] != [top.logprob for top in begun[2]]
    assert first.choices[0].message.content == again.choices[0].message.content
    assert again.usage.prompt_tokens == first.usage.prompt_tokens > ask(client, model).usage.prompt_tokens + 16
    assert again.usage.prompt_tokens_details.cached_tokens > 0.8 * again.usage.prompt_tokens
    assert len(other.choices) == 2


def test_messages(server: Server) -> None:
    source: Any = {"type": "base64", "media_type": "image/webp", "data": coded(noise(2, kind="WEBP"))}
    content: Any = [{"type": "text", "text": "this:"}, {"type": "image", "source": source}]
    asked: Any = {"model": "qwen2vl_merger/tiny.gguf", "messages": [{"role": "user", "content": content}]}
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        counted = client.messages.count_tokens(**asked).input_tokens
        first, again = (client.messages.create(max_tokens=4, **asked).usage for _ in range(2))
    assert first.input_tokens + (first.cache_read_input_tokens or 0) == counted > 40
    assert again.cache_read_input_tokens > 0 and again.input_tokens + again.cache_read_input_tokens == counted


def test_responses(client: openai.OpenAI) -> None:
    model = "idefics3/tiny.gguf"
    content: Any = [shown(noise(3), "input_image"), {"type": "input_text", "text": "what?"}]
    first = client.responses.create(model=model, input=[{"role": "user", "content": content}], max_output_tokens=16)
    second = client.responses.create(model=model, input="sure?", previous_response_id=first.id, max_output_tokens=16)
    assert second.usage.input_tokens > first.usage.input_tokens > 80
    assert second.usage.input_tokens_details.cached_tokens > 60


def test_what_cannot_be_is_said(client: openai.OpenAI) -> None:
    for model, images, said in (
        ("blind.gguf", [noise(0)], "'blind.gguf' reads text only"),
        ("gemma3/tiny.gguf", [b"no image"], "is broken, or of another format"),
        ("gemma3/tiny.gguf", [noise(0)[:200]], "is broken: image file is truncated"),
        ("gemma3/tiny.gguf", [noise(0, 402, 2)], "402 x 2 pixels, and may be 200 times as long as wide"),
        ("qwen2vl_merger/tiny.gguf", [noise(0, 400, 400)] * 2, "maximum context length is 4096 tokens"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            ask(client, model, *images)


def test_broken_images_disturb_nobody(server: Server, client: openai.OpenAI) -> None:
    model, rng, whole = "idefics3/tiny.gguf", np.random.default_rng(0), noise(4)
    expected = ask(client, model, whole).choices[0].message.content
    workers = server.model_workers()

    def break_one(number: int) -> int:
        with pytest.raises(openai.BadRequestError):
            ask(client, model, whole[: 100 + number])
        return 1

    files = rng.permutation(200).tolist()
    more: Any = {"ignore_eos": True}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        stream = ask(client, model, whole, max_tokens=2000, stream=True, extra_body=more)
        broken = [pool.submit(break_one, number) for number in files]
        reasons = [choice.finish_reason for event in stream for choice in event.choices]
        assert sum(each.result() for each in broken) == len(files)
    assert reasons[-1] == "length"
    assert ask(client, model, whole).choices[0].message.content == expected
    assert server.model_workers() == workers
