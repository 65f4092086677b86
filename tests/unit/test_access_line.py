"""The line that a request leaves: its times add up, and it can be read back."""

from __future__ import annotations

import json

import pytest

from localai_flask.metrics.access_line import render_json, render_plain
from localai_flask.metrics.request_record import Phases, RequestRecord

PHASES = Phases._fields


def record(**fields: object) -> RequestRecord:
    return RequestRecord(id="r-1", method="POST", arrived=100.0, arrived_at=1.5, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({}, (0, 0, 0, 0, 10)),
        ({"awaited": 101}, (9, 0, 0, 0, 1)),
        ({"awaited": 101, "submitted": 103}, (2, 7, 0, 0, 1)),
        ({"awaited": 101, "submitted": 103, "started": 104}, (2, 1, 6, 0, 1)),
        ({"awaited": 101, "submitted": 103, "started": 104, "answered": 106}, (2, 1, 2, 4, 1)),
        ({"awaited": 101, "submitted": 103, "started": 104, "answered": 106, "ended": 109}, (2, 1, 2, 3, 2)),
        ({"awaited": 101, "submitted": 103, "ended": 104}, (2, 1, 0, 0, 7)),
        ({"awaited": 101, "submitted": 103, "ended": 109, "measured": (1, 2, 3)}, (2, 1, 2, 3, 2)),
        ({"awaited": 101, "submitted": 103, "ended": 104, "measured": (1, 2, 3)}, (2, 1, 0, 0, 7)),
    ],
)
def test_phases_add_up_whatever_a_request_has_come_to(marks: dict[str, object], expected: tuple[int, ...]) -> None:
    phases = record(**marks).phases(110.0)
    assert phases == tuple(1_000_000 * each for each in expected)
    assert sum(phases) == 10_000_000


def test_json() -> None:
    told = json.loads(render_json(record(awaited=101.0, submitted=103.0, model='a "b" c', code="overloaded"), 110.1234))
    assert told["time"] == "1970-01-01T00:00:01.500Z" and told["id"] == "r-1"
    assert told["model"] == 'a "b" c' and told["error"] == "overloaded" and told["finish"] is None
    assert told["total_ms"] == 10123.4
    assert sum(told[f"{phase}_ms"] for phase in PHASES) == pytest.approx(told["total_ms"])


def test_plain() -> None:
    line = render_plain(
        record(awaited=101.0, submitted=103.0, model="a b", status=200, route="/x", client="::1"), 110.0
    )
    assert line.startswith('1970-01-01T00:00:01.500Z ::1 POST /x 200 model="a b" stream=no prompt_tokens=0 ')
    assert line.endswith(" total_ms=10000.000 id=r-1") and "\n" not in line and "finish" not in line
    assert render_plain(record(route="-", status=404, code="not_found"), 110.0) == (
        "1970-01-01T00:00:01.500Z - POST - 404 error=not_found total_ms=10000.000 id=r-1"
    )
