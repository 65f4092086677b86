"""The API families as their official clients send documents, each with the same words."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from flask import Flask

httpx = pytest.importorskip("httpx2")


class Clients(NamedTuple):
    openai: openai.OpenAI
    anthropic: anthropic.Anthropic


@contextmanager
def open_clients(app: Flask, api_key: str) -> Iterator[Clients]:
    transport = httpx.WSGITransport(app=app)
    http = openai.DefaultHttpxClient(transport=transport)
    other = anthropic.DefaultHttpxClient(transport=transport)
    with (
        openai.OpenAI(base_url="http://test/v1", api_key=api_key, http_client=http, max_retries=0) as one,
        anthropic.Anthropic(base_url="http://test", api_key=api_key, http_client=other, max_retries=0) as two,
    ):
        yield Clients(one, two)


def url_of(data: bytes) -> str:
    return f"data:application/pdf;base64,{base64.b64encode(data).decode()}"


def _png_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


class Chat:
    """Chat completions: `file` parts."""

    refused: type[Exception] = openai.BadRequestError
    field = "messages"

    def __init__(self, clients: Clients):
        self.clients = clients

    def text(self, text: str) -> Any:
        return {"type": "text", "text": text}

    def data(self, data: bytes, name: str) -> Any:
        return {"type": "file", "file": {"file_data": url_of(data), "filename": name}}

    def picture(self, data: bytes) -> Any:
        return {"type": "image_url", "image_url": {"url": _png_url(data)}}

    def with_detail(self, part: Any, detail: Any) -> Any:
        part.get("file", part)["detail"] = detail
        return part

    def uploaded(self, id: str) -> Any:
        return {"type": "file", "file": {"file_id": id}}

    def at(self, url: str) -> Any:
        return {"type": "file", "file": {"file_url": url}}

    def turns(self, *turns: Any) -> list[Any]:
        roles = ("user", "assistant")
        return [{"role": roles[number % 2], "content": each} for number, each in enumerate(turns)]

    def ask(self, *turns: Any) -> None:
        self.clients.openai.chat.completions.create(model="tiny", messages=self.turns(*turns))

    def stream(self, *turns: Any) -> None:
        for _ in self.clients.openai.chat.completions.create(model="tiny", messages=self.turns(*turns), stream=True):
            pass

    def after_a_call(self, part: Any) -> None:
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages = [
            *self.turns("look"), {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": [part]},
        ]  # fmt: skip
        self.clients.openai.chat.completions.create(model="tiny", messages=messages)

    def count(self, *turns: Any) -> int:
        path, body = "/chat/completions/render", {"model": "tiny", "messages": self.turns(*turns)}
        return len(self.clients.openai.post(path, cast_to=object, body=body)["token_ids"])  # type: ignore[index]


class Responses(Chat):
    """Open Responses: `input_file` parts."""

    field = "input"

    def text(self, text: str) -> Any:
        return {"type": "input_text", "text": text}

    def data(self, data: bytes, name: str) -> Any:
        return {"type": "input_file", "file_data": url_of(data), "filename": name}

    def picture(self, data: bytes) -> Any:
        return {"type": "input_image", "image_url": _png_url(data), "detail": "auto"}

    def uploaded(self, id: str) -> Any:
        return {"type": "input_file", "file_id": id}

    def at(self, url: str) -> Any:
        return {"type": "input_file", "file_url": url}

    def ask(self, *turns: Any, **more: Any) -> None:
        self.clients.openai.responses.create(model="tiny", input=self.turns(*turns), **more)

    def stream(self, *turns: Any) -> None:
        for _ in self.clients.openai.responses.create(model="tiny", input=self.turns(*turns), stream=True):
            pass

    def after_a_call(self, part: Any) -> None:
        items: list[Any] = [
            *self.turns("look"), {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [part]},
        ]  # fmt: skip
        self.clients.openai.responses.create(model="tiny", input=items)

    def count(self, *turns: Any) -> int:
        counted = self.clients.openai.responses.input_tokens.count(model="tiny", input=self.turns(*turns))
        return int(counted.input_tokens)


class Messages(Chat):
    """Anthropic's Messages: `document` blocks."""

    refused = anthropic.BadRequestError

    def data(self, data: bytes, name: str) -> Any:
        source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(data).decode()}
        return {"type": "document", "title": name, "source": source}

    def picture(self, data: bytes) -> Any:
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(data).decode()}
        return {"type": "image", "source": source}

    def uploaded(self, id: str) -> Any:
        return {"type": "document", "source": {"type": "file", "file_id": id}}

    def at(self, url: str) -> Any:
        return {"type": "document", "source": {"type": "url", "url": url}}

    def ask(self, *turns: Any) -> None:
        self.clients.anthropic.messages.create(model="tiny", max_tokens=9, messages=self.turns(*turns))

    def after_a_call(self, part: Any) -> None:
        call = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "c", "content": [part]}
        self.ask("look", [call], [result])

    def count(self, *turns: Any) -> int:
        counted = self.clients.anthropic.messages.count_tokens(model="tiny", messages=self.turns(*turns))
        return int(counted.input_tokens)


FAMILIES = (Chat, Responses, Messages)


def upload(clients: Clients, data: bytes, name: str = "up.pdf") -> str:
    return clients.openai.files.create(file=(name, data), purpose="user_data").id
