"""Bodies within bounds and beyond them; what stands in texts does not count."""

import json

import pytest

from localai_flask.api.request.body.json_body import decode_json
from localai_flask.api.request.body.json_bounds import (
    MOST_CONTAINERS,
    MOST_DEPTH,
    MOST_ENTRIES,
    MOST_TEXTS,
    check_bounds,
)
from localai_flask.errors import InvalidRequest


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"[]"] * (MOST_CONTAINERS - 1)) + b"]",
        b"[" + b",".join([b'""'] * MOST_TEXTS) + b"]",
        json.dumps(["[{,\\", '"]', '\\"[{,' * 4_000_000]).encode(),
        json.dumps({'"' * MOST_TEXTS * 3: "\\" * MOST_TEXTS * 3}).encode(),
    ],
    ids=["containers", "texts", "brackets in a text", "quotes in a text"],
)
def test_within(body: bytes) -> None:
    check_bounds(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"{}"] * MOST_CONTAINERS) + b"]",
        b"[" * (MOST_CONTAINERS + 1),
        b"[" + b",".join([b'"\\\\"'] * (MOST_TEXTS + 1)) + b"]",
        b"[" + b"1," * MOST_ENTRIES + b"1,1]",
    ],
    ids=["objects", "nested lists", "texts", "numbers"],
)
def test_beyond(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="more than"):
        check_bounds(body)


def nested(levels: int) -> object:
    value: object = "x"
    for level in range(levels):
        value = [1, value] if level % 2 else {"a": 1, "b": value}
    return value


def test_a_body_may_be_nested_so_deeply_and_not_more() -> None:
    for value in ("x", [], nested(MOST_DEPTH), [nested(MOST_DEPTH - 1)] * 3):
        decode_json(json.dumps(value).encode())
    for value in (["x", nested(MOST_DEPTH)], nested(400)):
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            decode_json(json.dumps(value).encode())
