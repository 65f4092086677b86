"""Pages of PDFs before the eyes of a small real model, sent by the official clients to the running server."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import MODELS
from tests.support.gguf_projectors import seeing_model
from tests.support.pdfs import nested, pages, text_at
from tests.support.server import Server

SEES, BLIND = "tiny.gguf", "blind.gguf"
RED, BLUE = "1 0 0 rg 50 50 500 600 re f", "0 0 1 rg 50 50 500 600 re f"
TEXT = text_at("This page has text only, and that of the length of a usual line.")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    seeing_model(models, "idefics3")
    (models / BLIND).symlink_to(MODELS / "demo.gguf")
    with Server(models, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def claude(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def file_part(data: bytes, **more: Any) -> Any:
    file = {"file_data": f"data:application/pdf;base64,{coded(data)}", "filename": "a.pdf", **more}
    return {"type": "file", "file": file}


def ask(client: openai.OpenAI, *parts: Any, model: str = SEES) -> Any:
    content: Any = [*parts, {"type": "text", "text": "what?"}]
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.create(
        model=model, messages=messages, max_tokens=8, temperature=0, logprobs=True, top_logprobs=5
    )


def tops(answer: Any) -> list[float]:
    return [top.logprob for top in answer.choices[0].logprobs.content[0].top_logprobs]


def test_what_is_on_a_scanned_page_changes_the_answer(client: openai.OpenAI) -> None:
    red, again, blue = (ask(client, file_part(pages(TEXT, scan))) for scan in (RED, RED, BLUE))
    assert tops(red) != tops(blue) and tops(red) == pytest.approx(tops(again), abs=0.01)
    assert red.usage.prompt_tokens == blue.usage.prompt_tokens
    assert again.usage.prompt_tokens_details.cached_tokens > 0.8 * again.usage.prompt_tokens


def test_detail_decides_how_many_images_are_computed(client: openai.OpenAI) -> None:
    of_detail = {
        detail: ask(client, file_part(pages(TEXT, RED, TEXT), detail=detail)).usage.prompt_tokens
        for detail in ("low", "auto", "high")
    }
    a_page = ask(client, file_part(pages(TEXT, RED, RED, TEXT))).usage.prompt_tokens - of_detail["auto"]
    assert of_detail["low"] == of_detail["auto"]
    # Less the line ends around the page of its own.
    assert a_page > 16 and of_detail["high"] - of_detail["auto"] == pytest.approx(2 * a_page, abs=4)


def test_all_families_show_the_same_pages(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    data = pages(TEXT, RED, f"{TEXT} {BLUE}")
    expected = ask(client, file_part(data))
    uploaded = client.files.create(file=("a.pdf", data), purpose="user_data")
    content: Any = [{"type": "input_file", "file_id": uploaded.id}, {"type": "input_text", "text": "what?"}]
    items: Any = [{"role": "user", "content": content}]
    response = client.responses.create(model=SEES, input=items, max_output_tokens=16, temperature=0)
    source: Any = {"type": "base64", "media_type": "application/pdf", "data": coded(data)}
    blocks: Any = [{"type": "document", "title": "a.pdf", "source": source}, {"type": "text", "text": "what?"}]
    messages: Any = [{"role": "user", "content": blocks}]
    message = claude.messages.create(model=SEES, messages=messages, max_tokens=8)
    counted = claude.messages.count_tokens(model=SEES, messages=messages).input_tokens
    usage = message.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == counted == expected.usage.prompt_tokens
    assert response.usage is not None and response.usage.input_tokens == counted
    assert response.output_text.startswith(expected.choices[0].message.content[:4])


def test_a_background_response_sees_them(client: openai.OpenAI) -> None:
    uploaded = client.files.create(file=("a.pdf", pages(RED)), purpose="user_data")
    items: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": uploaded.id}]}]
    response = client.responses.create(model=SEES, input=items, background=True, max_output_tokens=16)
    deadline = time.monotonic() + 30
    while response.status in ("queued", "in_progress") and time.monotonic() < deadline:
        time.sleep(0.1)
        response = client.responses.retrieve(response.id)
    assert response.status in ("completed", "incomplete") and response.usage is not None, response.error
    blind = [{"role": "user", "content": [{"type": "input_text", "text": '<document name="a.pdf">\n\n</document>'}]}]
    without: Any = client.responses.input_tokens.count(model=SEES, input=blind)
    assert response.usage.input_tokens > without.input_tokens + 16


def test_what_cannot_be_is_said_and_harms_nobody(server: Server, client: openai.OpenAI) -> None:
    ask(client)
    workers = server.model_workers()
    for model, part, said in (
        (BLIND, file_part(pages(RED)), "has no text, as of scanned pages, and this model sees no images"),
        (SEES, file_part(nested()), "takes more memory than it may, or at which its reader fails"),
        (SEES, file_part(pages(*[RED] * 65)), "65 pages of the documents would be drawn, but at most 64 images"),
        (SEES, file_part(pages(TEXT), detail="best"), "must be one of: auto, low, high"),
    ):
        with pytest.raises(openai.BadRequestError, match=said):
            ask(client, part, model=model)
    assert ask(client, file_part(pages(TEXT, RED)), model=BLIND).usage.prompt_tokens > 0
    assert set(workers) <= set(server.model_workers())
