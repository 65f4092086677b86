"""Requests that wait for what another thread compiles: those beside them run, and each ends as it should."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localai_flask.backends.base import Job
from localai_flask.backends.echo import EchoBackend
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Delta, Failed, Finished, Prompt
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import Generate, Terms
from localai_flask.pool.worker.engine import engine_thread
from localai_flask.pool.worker.engine.engine_thread import EngineThread
from localai_flask.pool.worker.requests import compiling
from localai_flask.sampling_params import SamplingParams

PATIENCE_S = 20


class Compiling(EchoBackend):
    """Has every prompt that begins with "slow" wait for something."""

    def __init__(self) -> None:
        self.made: dict[str, Future[Any]] = {}

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        text = job.prompt.text
        return self.made.setdefault(text, Future()) if text.startswith("slow") else None


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    backend, said = Compiling(), queue.SimpleQueue[Any]()
    monkeypatch.setattr(engine_thread, "create", lambda name: backend)
    thread = EngineThread(
        ModelConfig(name="echo"),
        lambda channel, answers: [said.put(answer) for answer in answers] and None,
        lambda: None,
        InHand(tmp_path / "hand"),
        lambda: 8,
    )
    thread.start()
    numbers = iter(range(1, 99))

    def ask(text: str, timeout_s: float | None = None) -> int:
        number = next(numbers)
        thread.submit(channel, number, Generate(Prompt(text), SamplingParams(), Terms(timeout_s=timeout_s)))
        return number

    def end_of(number: int) -> Finished | Failed:
        while True:
            at, answer = said.get(timeout=PATIENCE_S)
            ends.setdefault(at, answer if isinstance(answer, Finished | Failed) else None)
            if isinstance(answer, Finished | Failed) and at == number:
                return answer

    channel: Any = object()
    ends: dict[int, Any] = {}
    yield SimpleNamespace(thread=thread, backend=backend, ask=ask, end_of=end_of, channel=channel, said=said)
    thread.stop(PATIENCE_S)
    assert not thread.is_alive()


def test_others_pass_a_request_that_is_compiled(engine: SimpleNamespace) -> None:
    slow = engine.ask("slow")
    assert isinstance(engine.end_of(engine.ask("quick")), Finished)
    assert not engine.thread.is_idle
    engine.backend.made["slow"].set_result(None)
    assert isinstance(engine.end_of(slow), Finished) and engine.thread.is_idle


def test_one_that_cannot_be_compiled_fails_alone(engine: SimpleNamespace) -> None:
    refused, broken, good = engine.ask("slow 1"), engine.ask("slow 2"), engine.ask("slow 3")
    assert isinstance(engine.end_of(engine.ask("quick")), Finished)
    engine.backend.made["slow 1"].set_exception(InvalidRequest("No such form.", param="tools"))
    assert engine.end_of(refused).error.param == "tools"
    engine.backend.made["slow 2"].set_exception(RuntimeError("a bug"))
    assert "RuntimeError" in engine.end_of(broken).error.message
    engine.backend.made["slow 3"].set_result(None)
    assert isinstance(engine.end_of(good), Finished)


def test_one_that_takes_too_long_is_refused(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "LIMIT_S", 0.1)
    failed = engine.end_of(engine.ask("slow"))
    assert "takes more than" in failed.error.message and failed.error.status == 400
    engine.backend.made["slow"].set_result(None)
    assert isinstance(engine.end_of(engine.ask("quick")), Finished) and engine.thread.is_idle


def test_one_that_is_cancelled_meanwhile_never_runs(engine: SimpleNamespace) -> None:
    slow = engine.ask("slow")
    engine.thread.cancel(engine.channel, slow)
    engine.end_of(engine.ask("quick"))
    assert engine.thread.is_idle
    engine.backend.made["slow"].set_result(None)
    engine.end_of(engine.ask("quick again"))
    assert engine.thread.is_idle and not any(
        at == slow and isinstance(said, Delta) for at, said in drained(engine.said)
    )


def test_its_deadline_holds_while_nothing_else_runs(engine: SimpleNamespace) -> None:
    failed = engine.end_of(engine.ask("slow", timeout_s=0.1))
    assert failed.error.code == "deadline_exceeded" and engine.thread.is_idle


def drained(said: queue.SimpleQueue[Any]) -> list[Any]:
    return [said.get() for _ in range(said.qsize())]
