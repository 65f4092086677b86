"""What stands in a conversation's past never ends it, of whatever type that a client's package declares."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types.beta import BetaContentBlockParam, BetaMessageParam
from flask.testing import FlaskClient
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputItemParam

from tests.api.fakes import FakePool, says
from tests.support.typed_samples import samples

GO_ON = {"role": "user", "content": "go on"}
SAID = {"role": "assistant", "content": "ok"}


def as_chat(message: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"messages": [message, SAID, GO_ON]}


def as_item(item: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"input": [item, GO_ON], "store": False}


def as_message(message: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/messages", {"max_tokens": 9, "messages": [message, SAID, GO_ON]}


def as_user_block(block: Any) -> tuple[str, dict[str, Any]]:
    return as_message({"role": "user", "content": [block]})


def as_assistant_block(block: Any) -> tuple[str, dict[str, Any]]:
    return as_message({"role": "assistant", "content": [block]})


@pytest.mark.parametrize(
    ("kind", "asked", "least"),
    [
        (ChatCompletionMessageParam, as_chat, 15),
        (ResponseInputItemParam, as_item, 100),
        (BetaMessageParam, as_message, 100),
        (BetaContentBlockParam, as_user_block, 100),
        (BetaContentBlockParam, as_assistant_block, 100),
    ],
)
def test_all_types_of_the_clients_packages_are_taken_as_past(
    client: FlaskClient, pool: FakePool, kind: Any, asked: Callable[[Any], tuple[str, dict[str, Any]]], least: int
) -> None:
    refused, count = [], 0
    for sample in samples(kind):
        path, body = asked(sample)
        pool.scripts = [says("ok")]
        answer = client.post(path, json=body)
        count += 1
        if answer.status_code != 200:
            refused.append((json.dumps(sample)[:200], answer.get_data(as_text=True)[:200]))
    assert count >= least
    assert not refused, f"{len(refused)} of {count}: {refused[-9:]}"
