"""Where requests come from: clients' types, our own OpenAPI document, and good bodies that were broken.

They are made in a process of their own, so that what makes them counts neither as the server's memory nor its time.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import schemathesis
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_message_create_params
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import (
    input_item_list_params,
    input_token_count_params,
    response_compact_params,
    response_create_params,
    response_retrieve_params,
)
from schemathesis.core import NotSet

from localai_flask.app import create_app
from localai_flask.settings import Settings
from tests.api.fakes import FakePool
from tests.fuzz import typed, wire
from tests.fuzz.wire import KNOWN
from tests.support.mutated_requests import Request, make_requests

Send = Callable[[Request], None]

SHARES = {"typed": 0.5, "documented": 0.2, "mutated": 0.3}
WARMING_UP = 10
"""One part of this number comes first, of all sources."""
READ_AHEAD = 200

CHUNK = 400
"""Requests of one run of hypothesis, which remembers all that it has made."""
BODIES: dict[str, Any] = {
    "/v1/chat/completions": chat_create_params.CompletionCreateParams,
    "/v1/engines/tiny/chat/completions": chat_create_params.CompletionCreateParams,
    "/v1/completions": completion_create_params.CompletionCreateParams,
    "/v1/embeddings": embedding_create_params.EmbeddingCreateParams,
    "/v1/messages": message_create_params.MessageCreateParams,
    "/v1/messages?beta=true": beta_message_create_params.MessageCreateParams,
    "/v1/messages/count_tokens": message_count_tokens_params.MessageCountTokensParams,
    "/v1/responses": response_create_params.ResponseCreateParams,
    "/v1/responses/input_tokens": input_token_count_params.InputTokenCountParams,
    "/v1/responses/compact": response_compact_params.ResponseCompactParams,
}
"""What the official clients may send where."""
QUERIES: dict[str, Any] = {
    f"/v1/responses/{KNOWN}": response_retrieve_params.ResponseRetrieveParams,
    f"/v1/responses/{KNOWN}/input_items": input_item_list_params.InputItemListParams,
}
BARE = [
    ("POST", f"/v1/responses/{KNOWN}/cancel"),
    ("DELETE", f"/v1/responses/{KNOWN}"),
    ("HEAD", f"/v1/responses/{KNOWN}?stream=true"),
    ("OPTIONS", "/v1/chat/completions"),
]


def requests(seed: int, count: int) -> Iterator[Request]:
    """Yield that many requests: a part of each source, in which the application gets warm, and then the rest."""
    processes = multiprocessing.get_context("spawn")
    queue: Any = processes.Queue(READ_AHEAD)
    maker = processes.Process(target=_make, args=(queue, seed, count), daemon=True)
    maker.start()
    try:
        while (request := queue.get(timeout=300)) is not None:
            yield request
    finally:
        maker.terminate()
        maker.join()


def _make(queue: Any, seed: int, count: int) -> None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            app = create_app(Settings(models_path=Path(folder)), pool=FakePool())
            for part in (count // WARMING_UP, count - count // WARMING_UP):
                random = Random(f"{seed} {part}")
                send_typed(queue.put, random, int(part * SHARES["typed"]))
                send_documented(queue.put, random, int(part * SHARES["documented"]), app)
                send_mutated(queue.put, random, int(part * SHARES["mutated"]))
    finally:
        queue.put(None)


def send_typed(send: Send, random: Random, count: int) -> None:
    """Send what clients' packages declare."""
    bodies = st.sampled_from(list(BODIES)).flatmap(lambda path: st.tuples(st.just(path), typed.values(BODIES[path])))
    queries = st.sampled_from(list(QUERIES)).flatmap(lambda path: st.tuples(st.just(path), typed.values(QUERIES[path])))

    def of_body(drawn: tuple[str, Any]) -> Request:
        path, body = drawn
        if random.random() < 0.8:
            _go_on(path, body)
        return Request("POST", path, wire.encode(body, random))

    def of_query(drawn: tuple[str, Any]) -> Request:
        path, query = drawn
        return Request("GET", f"{path}?{urlencode(query, doseq=True, errors='replace')}")

    bare = st.sampled_from(BARE).map(lambda drawn: Request(*drawn))
    _run(st.one_of(*[bodies.map(of_body)] * 8, queries.map(of_query), bare), send, random, count)


def _go_on(path: str, body: dict[str, Any]) -> None:
    """Put a question that can be answered behind whatever is there: most of a conversation is its past."""
    field = "input" if "/responses" in path else "messages"
    if isinstance(body.get(field), list):
        body[field].append({"role": "user", "content": "go on"})
    elif field == "input":
        body["input"] = "go on"
    if path == "/v1/completions":
        body.setdefault("prompt", "go on")


def send_documented(send: Send, random: Random, count: int, app: Flask) -> None:
    """Send what the OpenAPI document allows, and some that it does not."""
    document = schemathesis.openapi.from_wsgi("/swagger/openapi.json", app)
    operations = [found.ok() for found in document.get_all_operations()]
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    cases = st.one_of([each.as_strategy(generation_mode=mode) for each in operations for mode in modes])
    _run(cases.map(lambda case: _of_case(case, random)), send, random, count)


def _of_case(case: schemathesis.Case, random: Random) -> Request:
    query = {name: value for name, value in (case.query or {}).items() if value is not None}
    path = case.formatted_path + (f"?{urlencode(query, doseq=True, errors='replace')}" if query else "")
    headers = {str(name): str(value) for name, value in (case.headers or {}).items()}
    if isinstance(case.body, NotSet):
        return Request(case.method, path, b"", headers)
    body = case.body if isinstance(case.body, bytes) else wire.encode(case.body, random)
    return Request(case.method, path, body, headers)


def send_mutated(send: Send, random: Random, count: int) -> None:
    """Send good bodies that were broken."""
    for request in make_requests(random.randrange(2**32), count):
        send(request)


def _run(requests: st.SearchStrategy[Request], send: Send, random: Random, count: int) -> None:
    for chunk in _chunks(count):

        @seed(random.randrange(2**32))
        @settings(
            max_examples=chunk,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(requests)
        def try_out(request: Request) -> None:
            send(request)

        try_out()


def _chunks(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, CHUNK)
        count -= CHUNK
