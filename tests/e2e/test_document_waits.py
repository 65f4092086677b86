"""PDFs that take long to read: they end with their requests, and keep nobody else waiting for long."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.pdfs import endless, pdf
from tests.support.processes import children, command, wait_for
from tests.support.server import Server

httpx = pytest.importorskip("httpx2")

CODED = base64.b64encode(endless()).decode()
LEAVES_S = 10
"""How long a reader may take to leave: less than the time that its PDF may take."""


def file_part(coded: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": coded, "filename": "a.pdf"}}


def chat(coded: str = CODED, **more: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": [file_part(coded)]}], "max_tokens": 5, **more}


SOURCE = {"type": "base64", "media_type": "application/pdf", "data": CODED}
COUNTED = {"model": "echo", "messages": [{"role": "user", "content": [{"type": "document", "source": SOURCE}]}]}
ITEMS: Any = [{"role": "user", "content": [{"type": "input_file", "file_data": CODED, "filename": "a.pdf"}]}]
LEFT = {
    "whole": ("/v1/chat/completions", chat()),
    "streamed": ("/v1/chat/completions", chat(stream=True)),
    "messages": ("/v1/messages", {**COUNTED, "max_tokens": 5}),
    "responses": ("/v1/responses", {"model": "echo", "input": ITEMS}),
    "counted": ("/v1/messages/count_tokens", COUNTED),
}


def readers(server: Server) -> list[int]:
    """The processes that read PDFs for a server."""
    makers = [*server.web_workers(), *server.background_workers()]
    return [pid for maker in makers for pid in children(maker) if "pdf_process" in command(pid)]


def await_none(server: Server) -> None:
    wait_for(lambda: not readers(server), LEAVES_S, "no PDF is read any more")


@pytest.fixture(scope="module")
def lone(models_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one web worker, in which a PDF may take its time."""
    more = {"LOCALAI_LOAD_TO_MEMORY": "echo", "LOCALAI_DOCUMENT_TIMEOUT": "60", "LOCALAI_GRACEFUL_TIMEOUT": "3"}
    with Server(models_path, tmp_path_factory.mktemp("lone"), LOCALAI_WORKERS="1", **more) as server:
        yield server


def client_of(server: Server, address: str = "127.0.0.1", api_key: str = "none") -> openai.OpenAI:
    http = openai.DefaultHttpxClient(transport=httpx.HTTPTransport(local_address=address))
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=60, http_client=http)


def send(server: Server, path: str, body: Any) -> socket.socket:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_the_time_of_a_request_ends_it(lone: Server, stream: bool) -> None:
    with client_of(lone) as client, pytest.raises(openai.APIError) as ended:
        answer: Any = client.chat.completions.create(**chat(stream=stream), extra_body={"timeout": 5})
        list(answer)
    assert ended.value.code == "deadline_exceeded"
    assert isinstance(ended.value, openai.InternalServerError) is not stream
    await_none(lone)


def test_a_client_that_leaves_ends_it(lone: Server) -> None:
    for path, body in LEFT.values():
        connections = [send(lone, path, body) for _ in range(4)]
        wait_for(lambda: len(readers(lone)) == 2, 20, "as many are read as one client may have")
        for connection in connections:
            connection.close()
        await_none(lone)


def test_who_has_many_keeps_nobody_else_waiting(lone: Server) -> None:
    """Of a server without keys, by clients."""
    connections = [send(lone, "/v1/chat/completions", chat()) for _ in range(6)]
    wait_for(lambda: len(readers(lone)) == 2, 20)
    held = set(readers(lone))
    with client_of(lone, "127.0.0.2") as other:
        answer = other.chat.completions.create(**chat(base64.b64encode(pdf("harmless")).decode()))
    assert answer.usage is not None and held == set(readers(lone))
    for connection in connections:
        connection.close()
    await_none(lone)


def test_a_background_response_that_is_cancelled_ends_it(lone: Server) -> None:
    with client_of(lone) as client:
        response = client.responses.create(model="echo", input=ITEMS, background=True)
        wait_for(lambda: readers(lone), 30, "it is read")
        assert client.responses.cancel(response.id).status == "cancelled"
    await_none(lone)


def test_a_batch_that_is_cancelled_ends_it(lone: Server) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat()}
    with client_of(lone) as client:
        uploaded = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
        made: Any = client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        wait_for(lambda: readers(lone), 30, "it is read")
        client.batches.cancel(made.id)
        await_none(lone)
        wait_for(lambda: client.batches.retrieve(made.id).status == "cancelled", 20, "the batch is cancelled")
