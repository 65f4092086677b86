"""Lines of batches: read from any pieces, refused with a reason, answered while others do not wait."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.api.batches.lines import (
    decode_answer,
    read_line,
    split_lines,
    write_line,
)
from localai_flask.api.batches.usage import read_usage
from localai_flask.background.batches.allowance import LOOK_S, MOST_AT_ONCE, STARVED_S, Allowance
from localai_flask.store.batches.rows import Line, Usage

CHAT = "/v1/chat/completions"
LONGEST = 1000


@given(st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")), max_size=20), st.integers(1, 40))
def test_lines_do_not_depend_on_the_pieces(lines: list[bytes], piece: int) -> None:
    text = b"\n".join(lines)
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    whole = text.split(b"\n") if text else []
    assert list(split_lines(pieces, 1000)) == (whole[:-1] if text.endswith(b"\n") else whole)


@pytest.mark.parametrize("piece", [3, 7, 100])
def test_a_line_that_is_too_long_is_cut_once(piece: int) -> None:
    text = b"ab\n" + b"x" * 50 + b"\ncd"
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    assert list(split_lines(pieces, 10)) == [b"ab", b"x" * 11, b"cd"]


def read(request: Any, known: set[str] | None = None) -> Line:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return read_line(text, 4, CHAT, set() if known is None else known, LONGEST)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"nonsense", "not valid JSON"),
        ([], "must be a JSON object"),
        ({"body": {}}, "`custom_id`"),
        ({"custom_id": "", "body": {}}, "`custom_id`"),
        ({"custom_id": "x" * 513, "body": {}}, "`custom_id`"),
        ({"custom_id": "taken", "body": {}}, "stands in a line before"),
        ({"custom_id": "a", "method": "GET", "body": {}}, "`method`"),
        ({"custom_id": "a", "url": "/v1/embeddings", "body": {}}, "`url`"),
        ({"custom_id": "a"}, "`body`"),
        ({"custom_id": "a", "body": {"stream": True}}, "`body.stream`"),
        ({"custom_id": "a", "body": {"background": True}}, "`body.background`"),
        ({"custom_id": "a", "body": {"x": "y" * LONGEST}}, "longer than"),
    ],
)
def test_what_is_no_request_is_answered_with_the_reason(request_: Any, said: str) -> None:
    line = read(request_, {"taken"})
    assert line.outcome == "errored" and line.answer is not None
    error = decode_answer(line.answer).error
    assert error is not None and said in error.message and "line 5" in error.message
    assert json.loads(write_line("batch_1", line))["response"] is None


def test_a_request_keeps_its_body() -> None:
    line = read({"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "m", "stream": False}})
    assert (line.custom_id, json.loads(line.request)) == ("a", {"model": "m", "stream": False})


def test_lines_make_way_for_others_but_never_starve() -> None:
    others, now = [0.0], [0.0]
    allowance = Allowance(lambda: others[0], lambda: now[0])

    def take_all() -> int:
        now[0] += LOOK_S
        count = 0
        while allowance.try_take():
            count += 1
        return count

    assert take_all() == MOST_AT_ONCE and not allowance.are_others
    others[0] = 1.0
    for _ in range(MOST_AT_ONCE):
        allowance.give_back()
    assert take_all() == 0 and allowance.are_others
    now[0] += STARVED_S
    assert take_all() == 1 and take_all() == 0
    allowance.give_back()
    assert take_all() == 0
    others[0] = 0.0
    assert take_all() == MOST_AT_ONCE


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}, Usage(7, 0, 3, 0)),
        (
            {
                "usage": {
                    "prompt_tokens": 7,
                    "completion_tokens": 3,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                }
            },
            Usage(7, 4, 3, 2),
        ),
        (
            {
                "usage": {
                    "input_tokens": 5,
                    "input_tokens_details": {"cached_tokens": 1},
                    "output_tokens": 6,
                    "output_tokens_details": {"reasoning_tokens": 4},
                }
            },
            Usage(5, 1, 6, 4),
        ),
        ({"data": [], "usage": {"prompt_tokens": 9, "total_tokens": 9}}, Usage(9)),
        ({"usage": None}, Usage()),
        ({"error": {"message": "no"}}, Usage()),
    ],
)
def test_usage_is_read_in_each_familys_words(body: Any, usage: Usage) -> None:
    assert read_usage(json.dumps(body).encode()) == usage
