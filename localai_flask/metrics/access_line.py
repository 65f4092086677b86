"""The one line that a request leaves in the access log, for people or as JSON; it has neither prompt nor key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from localai_flask.metrics.request_record import RequestRecord

STDOUT = 1
SPARED = "-"
"""For what a request has not."""


APART = frozenset({"time", "client", "method", "route", "status", "total_ms", "id"})
"""What stands at the beginning and the end of a plain line."""


def describe(record: RequestRecord, now: float) -> dict[str, Any]:
    """Return what is told of an answered request, by names; times are in milliseconds, and the phases add up."""
    phases = record.phases(now)
    times = {f"{name}_ms": micros / 1000 for name, micros in phases._asdict().items()}
    return {
        "time": _time_of(record),
        "id": record.id,
        "client": record.client,
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "model": record.model or None,
        "key": record.key or None,
        "stream": record.stream,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        **times,
        "total_ms": sum(phases) / 1000,
        "finish": record.finish or None,
        "error": record.code or None,
    }


def _time_of(record: RequestRecord) -> str:
    return datetime.fromtimestamp(record.arrived_at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def render_json(record: RequestRecord, now: float) -> str:
    return json.dumps(describe(record, now), ensure_ascii=False)


def render_plain(record: RequestRecord, now: float) -> str:
    """Render time, client, method, route and status, and then what there is to say as name=value."""
    head = (_time_of(record), record.client, record.method, record.route, record.status)
    told: dict[str, Any]
    if record.model:
        told = {name: value for name, value in describe(record, now).items() if name not in APART}
    else:
        told = {"key": record.key or None, "error": record.code or None}
    pairs = [f"{name}={_word(value)}" for name, value in told.items() if value is not None]
    total_ms = sum(record.phases(now)) / 1000
    return " ".join([*(str(part or SPARED) for part in head), *pairs, f"total_ms={total_ms:.3f}", f"id={record.id}"])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


FORMS: dict[str, Callable[[RequestRecord, float], str] | None] = {
    "plain": render_plain,
    "json": render_json,
    "off": None,
}


def write(line: str) -> None:
    """Write a line in one piece, which no other process's can come into."""
    try:
        os.write(STDOUT, line.encode(errors="backslashreplace") + b"\n")
    except OSError:
        pass  # nobody reads it any more, and nobody can be told
