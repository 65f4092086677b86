"""A short run, and that what it looks for would be found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from localai_flask.pool.runtime import ENV
from tests.fuzz import sources
from tests.fuzz.in_process import InProcess
from tests.fuzz.stage import Stage, _faults_of_error, _is_whole_stream
from tests.support.mutated_requests import Request

COUNT, SEED = 400, 1


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv(ENV, str(tmp_path))
    random = Random(SEED)
    target = InProcess(tmp_path, random)
    yield Stage(target, random)
    target.close()


def test_no_request_of_a_short_run_shows_a_fault(stage: Stage) -> None:
    for request in sources.requests(SEED, COUNT):
        stage.send(request)
    assert not stage.faults, list(stage.faults.values())
    assert stage.count > COUNT * 0.9 and stage.statuses[200] > COUNT / 6, stage.statuses


def test_a_mistake_is_found_and_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("localai_flask.api.rerank.routes._rank", fail)
    for _ in range(9):  # some are refused for their headers
        stage.send(Request("POST", "/v1/rerank", b'{"query":"a","documents":["b"]}'))
    assert any(what.startswith("KeyError at ") and "nobody thought" in what for what in stage.faults), stage.faults


def test_streams_and_errors_are_looked_at() -> None:
    assert not _is_whole_stream("/v1/chat/completions", b'data: {"choices":[]}\n\n')
    assert not _is_whole_stream("/v1/messages", b"event: ping\ndata: {}\n\n")
    chat = Request("POST", "/v1/chat/completions")
    assert [*_faults_of_error("/v1/chat/completions", chat, b"<html>")]
    assert [*_faults_of_error("/v1/chat/completions", chat, b'{"error":{"type":"a","message":"b"}}')]
    assert [*_faults_of_error("/v1/messages", chat, b'{"error":{"type":"a","message":"b","code":"c"}}')]
    assert [*_faults_of_error("/v2/rerank", chat, b'{"error":{"type":"a","message":"b","code":"c"}}')]
