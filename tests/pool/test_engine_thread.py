"""The engine thread beside an engine that runs by itself: it sleeps until notified, and hears commands meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localai_flask.backends.base import Backend, Event, Job, LoadProgress
from localai_flask.config.model import EngineConfig
from localai_flask.generation import Delta, Failed, Finished, FinishReason, ModelInfo, Prompt, Usage
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import Generate, Terms
from localai_flask.pool.worker.engine import engine_thread
from localai_flask.pool.worker.engine.engine_thread import EngineThread
from localai_flask.pool.worker.engine.loading import Loading
from localai_flask.sampling_params import SamplingParams
from tests.support.processes import wait_for


class Elsewhere(Backend):
    """Has its events made by somebody else, as an engine with a loop of its own has."""

    def __init__(self) -> None:
        self.made: list[Event] = []
        self.running: set[int] = set()
        self.steps = 0

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        return ModelInfo(
            backend="elsewhere", engine_version="1", context_length=100, capabilities=frozenset({"generate"})
        )

    def prepare(self, job: Job) -> None: ...

    @property
    def room(self) -> int:
        return 1 - len(self.running)

    def start(self, job: Job) -> bool:
        self.running.add(job.id)
        return True

    def cancel(self, job_id: int) -> None:
        self.running.discard(job_id)

    def step(self) -> list[Event]:
        self.steps += 1
        events, self.made = self.made, []
        self.running -= {id for id, reply in events if isinstance(reply, Finished)}
        return events

    @property
    def is_idle(self) -> bool:
        return not self.running

    @property
    def runs_by_itself(self) -> bool:
        return True


@pytest.fixture
def published() -> list[Any]:
    return []


@pytest.fixture
def backend() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def engine(
    backend: Elsewhere, published: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EngineThread]:
    monkeypatch.setattr(engine_thread, "create", lambda name: backend)
    monkeypatch.setattr(engine_thread, "NOTICE_S", 5.0)
    thread = EngineThread(
        EngineConfig(name="m", backend="elsewhere"),
        lambda channel, answers: published.extend(answers),
        lambda: None,
        InHand(tmp_path / "in-hand"),
        lambda: 10,
    )
    thread.start()
    wait_for(lambda: thread.info is not None, 5)
    yield thread
    thread.stop(5)


def submit(engine: EngineThread, request_id: int) -> None:
    engine.submit(None, request_id, Generate(Prompt("x"), SamplingParams(), Terms()))


def test_nothing_is_stepped_until_there_is_something(
    engine: EngineThread, backend: Elsewhere, published: list[Any]
) -> None:
    submit(engine, 7)
    wait_for(lambda: backend.running, 5)
    (job_id,) = backend.running
    time.sleep(0.1)
    before = backend.steps
    time.sleep(0.2)
    assert backend.steps == before, "an engine that runs by itself was polled"
    backend.made = [(job_id, Delta("a", [], 1)), (job_id, Finished(FinishReason.EOS, Usage(1, 1, 0)))]
    notify: Callable[[], None] | None = backend.notify
    assert notify is not None
    notify()
    wait_for(lambda: any(isinstance(reply, Finished) for _, reply in published), 2)


def test_commands_are_heard_at_once(engine: EngineThread, backend: Elsewhere) -> None:
    submit(engine, 7)
    wait_for(lambda: backend.running, 5)
    engine.cancel(None, 7)
    wait_for(lambda: not backend.running, 2)


def test_who_waits_starts_when_another_has_ended(engine: EngineThread, backend: Elsewhere) -> None:
    submit(engine, 7)
    wait_for(lambda: backend.running, 5)
    first = set(backend.running)
    submit(engine, 8)
    backend.made = [(id, Finished(FinishReason.EOS, Usage(1, 0, 0))) for id in first]
    assert backend.notify is not None
    backend.notify()
    wait_for(lambda: backend.running and backend.running != first, 2)


def test_what_an_engine_does_not_take_never_reaches_it(
    engine: EngineThread, backend: Elsewhere, published: list[Any]
) -> None:
    engine.submit(None, 7, Generate(Prompt("x"), SamplingParams(mirostat=2), Terms()))
    wait_for(lambda: any(isinstance(reply, Failed) for _, reply in published), 2)
    (failed,) = (reply for _, reply in published if isinstance(reply, Failed))
    assert failed.error.param == "mirostat" and "not supported by the elsewhere backend" in failed.error.message
    assert not backend.running


def test_any_exception_of_a_load_becomes_one_sentence() -> None:
    class Broken(Elsewhere):
        def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
            raise RuntimeError("no kernel image\n  is available")

    loading = Loading(EngineConfig(name="m", backend="broken"))
    assert not loading.load(Broken())
    assert str(loading.error) == "The broken engine cannot load model m: no kernel image is available."


def test_a_request_that_the_engine_cannot_begin_with_ends_alone(
    engine: EngineThread, backend: Elsewhere, published: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = backend.start

    def start(job: Job) -> bool:
        if job.prompt.text == "bad":
            backend.running.add(job.id)
            raise ValueError("no such grammar")
        return usual(job)

    monkeypatch.setattr(backend, "start", start)
    engine.submit(None, 7, Generate(Prompt("bad"), SamplingParams(), Terms()))
    wait_for(lambda: any(isinstance(reply, Failed) for _, reply in published), 2)
    (failed,) = (reply for _, reply in published if isinstance(reply, Failed))
    assert "The engine failed at this request (ValueError)" in failed.error.message
    assert not backend.running, "what was begun of it is forgotten"
    submit(engine, 8)
    wait_for(lambda: backend.running, 2)
    assert not engine.broke
