"""Anthropic's batches of messages by the official client, over a real socket and a scripted model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.support.processes import wait_for
from tests.support.server import Server


@pytest.fixture
def anthropic_client(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def request(custom_id: str, text: str, **more: Any) -> Any:
    params = {"model": "echo", "max_tokens": 2000, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "params": params}


def await_end(client: anthropic.Anthropic, id: str) -> Any:
    def ended() -> Any:
        batch = client.messages.batches.retrieve(id)
        return batch if batch.processing_status == "ended" else None

    return wait_for(ended, 60, f"{id} has ended")


def test_a_batch(anthropic_client: anthropic.Anthropic) -> None:
    batches = anthropic_client.messages.batches
    asked = [
        request("a", "one"),
        request("b", "two", temperature="hot"),
        request("c", "three"),
        request("d", "x", stream=True),
    ]
    batch = batches.create(requests=asked)
    assert batch.processing_status == "in_progress" and batch.results_url is None
    ended = await_end(anthropic_client, batch.id)
    counts = {"processing": 0, "succeeded": 2, "errored": 2, "canceled": 0, "expired": 0}
    assert ended.request_counts.to_dict() == counts and ended.created_at < ended.ended_at < ended.expires_at
    results = {each.custom_id: each.result for each in batches.results(batch.id)}
    assert list(results) == ["a", "b", "c", "d"]
    assert [results[id].message.content[0].text for id in "ac"] == ["one", "three"]
    assert "temperature" in results["b"].error.error.message and "params.stream" in results["d"].error.error.message
    assert results["b"].error.error.type == "invalid_request_error"
    assert [each.id for each in batches.list(limit=1)][:1] == [batch.id]
    assert batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError, match=batch.id):
        batches.retrieve(batch.id)


def test_cancel(anthropic_client: anthropic.Anthropic) -> None:
    batches = anthropic_client.messages.batches
    slow = json.dumps({"say": "x" * 400, "pace_ms": 50})
    batch = batches.create(requests=[request("quick", "one"), *(request(f"slow-{n}", slow) for n in range(6))])
    wait_for(lambda: batches.retrieve(batch.id).request_counts.succeeded, 30, "the first answer")
    with pytest.raises(anthropic.BadRequestError, match="not ended"):
        batches.delete(batch.id)
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        batches.results(batch.id)
    assert batches.cancel(batch.id).cancel_initiated_at
    ended = await_end(anthropic_client, batch.id)
    assert ended.request_counts.canceled == 6
    assert [each.result.type for each in batches.results(batch.id)] == ["succeeded", *["canceled"] * 6]


@pytest.mark.parametrize(
    ("requests", "said"),
    [([], "between 1"), ([request("a", "x"), request("a", "y")], "before"), ([request("a b", "x")], "custom_id")],
)
def test_refusals(anthropic_client: anthropic.Anthropic, requests: Any, said: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=said):
        anthropic_client.messages.batches.create(requests=requests)
