"""Between a web worker and a model worker: requests that move, and readers that do not read."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.config import model as model_config
from localai_flask.generation import Delta, Prompt
from localai_flask.pool import outbox
from localai_flask.pool.channel import Channel
from localai_flask.pool.protocol import WorkerSpec
from localai_flask.pool.runtime import ENV
from localai_flask.pool.worker import manager_link, worker
from localai_flask.pool.worker.worker import ModelWorker
from localai_flask.sampling_params import SamplingParams
from tests.support.pool import Pool, ask, echo, texts, whole
from tests.support.processes import wait_for


def test_every_sequence_of_a_request_may_move(pool: Pool) -> None:
    session = pool.session(echo())
    (leaving,) = pool.workers()
    stream = texts(ask(session, '{"say": "abcdefgh", "pace_ms": 200}'))
    assert next(stream) == "a"
    os.kill(leaving, signal.SIGTERM)
    time.sleep(0.1)  # the worker has heard of it, and the manager has not
    said = [""] * 6
    for event in session.generate([(Prompt(f"<{index}>"), SamplingParams()) for index in range(6)]).events():
        if event is not None and isinstance(event[1], Delta):
            said[event[0]] += event[1].text
    assert said == [f"<{index}>" for index in range(6)]
    assert "".join(stream) == "bcdefgh"


def test_a_request_to_a_worker_that_has_just_died_moves(pool: Pool) -> None:
    session = pool.session(echo())
    pick = session.pick

    def pick_and_kill(prompt: Prompt) -> object:
        link = pick(prompt)
        os.kill(link.worker.pid, signal.SIGKILL)
        wait_for(lambda: not link.channel.alive, 5, "the death noticed")
        session.pick = pick  # type: ignore[method-assign]
        return link

    session.pick = pick_and_kill  # type: ignore[assignment,method-assign]
    assert whole(ask(session, "moved"))[0] == "moved"


def test_a_model_worker_hangs_up_on_what_it_cannot_read(pool: Pool) -> None:
    session = pool.session(echo())
    status = pool.client._started()[0].status(session.config.key)
    assert status is not None
    stranger = Channel.connect(status.workers[0].address)
    stranger.send(b"\xc1")
    wait_for(stranger.peer_left, 5, "hung up")
    stranger.close()
    assert whole(ask(session, "fine"))[0] == "fine"


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelWorker]:
    """A model worker's inner life in this process, without a manager."""
    runtime = tmp_path / f"localai-flask-{os.getpid()}-x"
    runtime.mkdir()
    monkeypatch.setenv(ENV, str(runtime))
    spec = WorkerSpec(worker_id="w", config=model_config.encode(echo()), runtime_dir="", log_level="info", grace_s=1.0)
    lonely = ModelWorker(spec)
    yield lonely
    lonely.engine.stop(5)
    lonely.hub.close()


def test_a_worker_leaves_when_no_manager_comes_back(lonely: ModelWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_link, "LONGEST_ABSENCE_S", 0.5)
    assert lonely.serve() == worker.EXIT_ORPHANED


def test_a_reader_that_takes_nothing_is_dropped(lonely: ModelWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LONGEST_BACKLOG_S", 0.5)
    lonely.engine.start()
    reader = Channel.connect(lonely.address)
    deadline = time.monotonic() + 15
    while not lonely.channels:
        for event in lonely.hub.recv(0.1):
            lonely.handle(event)
    (channel,) = lonely.channels
    big = Delta("x" * (1 << 16))
    for _ in range(64):
        lonely.publish(channel, [(1, big)])
    while lonely.channels and time.monotonic() < deadline:
        lonely.hub.recv(0.05)
        lonely.drop_stuck()
    assert not lonely.channels, "the stuck reader was kept"
    assert reader.peer_left()
    reader.close()
