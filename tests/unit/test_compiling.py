"""Requests that wait for what another thread compiles: those beside them run, and each ends as it should."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localai_flask.backends.base import Inquiry, Job
from localai_flask.backends.echo import EchoBackend
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Delta, Failed, Finished, Prompt
from localai_flask.inquiry import Tokenize, Tokenized
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import Ask, Generate, Terms
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

    def ask_ahead(self, inquiry: Inquiry) -> Future[Any] | None:
        assert isinstance(inquiry.question, Tokenize)
        text = inquiry.question.prompt.text
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

    def tokenize(*texts: str) -> list[int]:
        numbers_of_group = [next(numbers) for _ in texts]
        asked = [Ask(Tokenize(Prompt(text)), Terms()) for text in texts]
        thread.ask(channel, list(zip(numbers_of_group, asked, strict=True)))
        return numbers_of_group

    def end_of(number: int) -> Finished | Failed | Tokenized:
        while number not in ends:
            at, answer = said.get(timeout=PATIENCE_S)
            if isinstance(answer, Finished | Failed | Tokenized):
                ends[at] = answer
        return ends[number]

    channel: Any = object()
    ends: dict[int, Any] = {}
    yield SimpleNamespace(
        thread=thread, backend=backend, ask=ask, tokenize=tokenize, end_of=end_of, channel=channel, said=said
    )
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


def test_a_long_text_is_tokenized_beside_others(engine: SimpleNamespace) -> None:
    slow, short = engine.tokenize("slow", "short")
    assert engine.end_of(short) == Tokenized(list(b"short"))
    assert isinstance(engine.end_of(engine.ask("quick")), Finished)
    assert not engine.thread.is_idle
    engine.backend.made["slow"].set_result(None)
    assert engine.end_of(slow) == Tokenized(list(b"slow")) and engine.thread.is_idle


def test_a_text_that_cannot_be_tokenized_fails_alone(engine: SimpleNamespace) -> None:
    refused, good = engine.tokenize("slow 1", "slow 2")
    engine.end_of(engine.ask("quick"))
    engine.backend.made["slow 1"].set_exception(InvalidRequest("It is too long.", param="content"))
    assert engine.end_of(refused).error.param == "content"
    engine.backend.made["slow 2"].set_result(None)
    assert engine.end_of(good) == Tokenized(list(b"slow 2"))


def test_a_text_whose_client_left_meanwhile_is_forgotten(engine: SimpleNamespace) -> None:
    (slow,) = engine.tokenize("slow")
    engine.end_of(engine.ask("quick"))
    engine.thread.cancel(engine.channel, slow)
    engine.end_of(engine.ask("quick"))
    assert engine.thread.is_idle
    engine.backend.made["slow"].set_result(None)
    engine.end_of(engine.ask("quick again"))
    assert not any(at == slow and isinstance(said, Tokenized) for at, said in drained(engine.said))


def drained(said: queue.SimpleQueue[Any]) -> list[Any]:
    return [said.get() for _ in range(said.qsize())]
