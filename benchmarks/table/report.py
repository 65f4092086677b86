"""The table as text: one line for each row, the aim beside it, and why it is missed where it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.table.row import Result, Row

NO_REASON = "not looked into yet"


def line(row: Row, result: Result) -> str:
    """Return a row of the table in Markdown."""
    if result.ratio is None:
        return f"| {row.name} | | | | {row.aim_text} | {result.error} |"
    ours = _figure(result.ours, row.unit)
    theirs = "" if result.theirs is None else _figure(result.theirs, row.unit)
    verdict = "reached" if result.is_reached(row) else f"**missed**: {row.why or NO_REASON}"
    return f"| {row.name} | {ours} | {theirs} | {result.ratio:.2f} | {row.aim_text} | {verdict} |"


def head() -> Iterator[str]:
    yield "| | ours | `llama-server` | ratio | aim | |"
    yield "|---|---|---|---|---|---|"


def conditions() -> str:
    """Return what the figures depend on beside the code."""
    names = (each.partition(":")[2].strip() for each in _lines("/proc/cpuinfo") if each.startswith("model name"))
    load = os.getloadavg()[0]
    return f"{len(os.sched_getaffinity(0))} cores of {next(names, 'an unknown processor')}, load {load:.1f} before"


def keep(file: Path, results: dict[str, Result], said: str) -> dict[str, Result]:
    """Add results to those that a file has, with the conditions under which they were measured; return all."""
    stored = json.loads(file.read_text()) if file.exists() else {}
    for name, result in results.items():
        if result.ratio is not None or name not in stored:  # what was left over keeps what an earlier run has found
            stored[name] = {**asdict(result), "conditions": said}
    file.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    return {name: Result(**{k: v for k, v in each.items() if k != "conditions"}) for name, each in stored.items()}


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:,.1f} {unit}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
