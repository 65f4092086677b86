"""Models that make room for each other, with real processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError
from localai_flask.pool.protocol import ModelReport
from tests.support import processes
from tests.support.pool import LoggedPool, ask, echo, texts, whole
from tests.support.processes import wait_for

ONE_PLACE = {"LOCALAI_MAX_ACTIVE_BACKENDS": "1", "LOCALAI_LRU_EVICTION_MAX_RETRIES": "1"}
"""One model at a time, and a busy one is waited for a second."""
MB = 1 << 20
Start = Callable[..., LoggedPool]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    pools: list[LoggedPool] = []

    def start(**environment: str) -> LoggedPool:
        pools.append(LoggedPool(tmp_path, **environment))
        return pools[-1]

    yield start
    for pool in pools:
        pool.close()


def say(pool: LoggedPool, config: ModelConfig, text: str = "hi", **script: object) -> str:
    return whole(ask(pool.session(config), json.dumps({"say": text, **script})))[0]


def described(pool: LoggedPool, name: str) -> ModelReport:
    return next(model for model in pool.client.report().models if model.name == name)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_backlog_on_two_models_is_served_whole_and_never_side_by_side(start: Start) -> None:
    pool = start(**ONE_PLACE)
    answers: list[str] = []

    def client(name: str) -> None:
        for number in range(4):
            answers.append(say(pool, echo(name), f"{name}{number}", pace_ms=30))

    threads = [in_background(lambda name=name: client(name)) for name in ("a", "b") * 3]
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, len(pool.workers()))
        time.sleep(0.01)
    assert sorted(answers) == sorted(f"{name}{number}" for name in "ab" for number in range(4) for _ in range(3))
    assert most == 1, "one was loaded before the memory of the other was free"
    assert 2 <= pool.count("loading model") <= 8, "they throw each other out"


def test_a_busy_model_ends_its_answer_before_it_leaves(start: Start) -> None:
    pool = start(**ONE_PLACE, LOCALAI_GRACEFUL_TIMEOUT="1")
    long = texts(ask(pool.session(echo("a")), json.dumps({"say": "abcdefghijklmnop", "pace_ms": 350})))
    assert next(long) == "a"
    other: list[str] = []
    thread = in_background(lambda: other.append(say(pool, echo("b"))))
    assert "".join(long) == "bcdefghijklmnop", "its answer was cut, or its grace counted"
    assert not other
    thread.join(10)
    assert other == ["hi"]
    assert pool.count("model a makes room for b when its requests have ended") == 1


def test_a_busy_model_may_be_forced_to_leave(start: Start) -> None:
    pool = start(**ONE_PLACE, LOCALAI_GRACEFUL_TIMEOUT="1", LOCALAI_FORCE_EVICTION_WHEN_BUSY="true")
    long = texts(ask(pool.session(echo("a")), json.dumps({"say": "x" * 100, "pace_ms": 100})))
    assert next(long) == "x"
    time.sleep(2)  # what was just loaded has its time
    begun = time.monotonic()
    assert say(pool, echo("b")) == "hi"
    assert time.monotonic() - begun < 8
    with pytest.raises(ApiError):
        list(long)


def test_a_worker_that_is_killed_while_it_leaves_does_not_hold_the_place(start: Start) -> None:
    pool = start(**ONE_PLACE)
    long = texts(ask(pool.session(echo("a")), json.dumps({"say": "x" * 100, "pace_ms": 300})))
    assert next(long) == "x"
    (victim,) = pool.workers()
    thread = in_background(lambda: say(pool, echo("b")))
    wait_for(lambda: pool.count("makes room for b"), 15, "the busy model is told to leave")
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(ApiError):
        list(long)
    thread.join(10)
    assert not thread.is_alive() and described(pool, "b").state == "ready"
    assert say(pool, echo("a")) == "hi", "it does not come back"


def test_the_next_manager_goes_on_with_what_was_begun(start: Start) -> None:
    pool = start(**ONE_PLACE)
    long = texts(ask(pool.session(echo("a")), json.dumps({"say": "abcdefghij", "pace_ms": 400})))
    assert next(long) == "a"
    thread = in_background(lambda: say(pool, echo("b")))
    wait_for(lambda: pool.count("makes room for b"), 15, "the busy model is told to leave")
    pool.manager.kill()
    pool.manager.wait()
    pool.manager = pool.start_manager()
    assert "".join(long) == "bcdefghij"
    thread.join(20)
    assert not thread.is_alive()
    assert described(pool, "b").state == "ready"
    assert len(pool.workers()) == 1


def test_a_pinned_model_stays_and_the_other_is_refused(start: Start) -> None:
    pool = start(**ONE_PLACE)
    assert say(pool, echo("a", pinned=True)) == "hi"
    with pytest.raises(ApiError, match=r"Model b finds no place: .* there is already: a \(pinned\)") as refused:
        pool.session(echo("b"))
    assert refused.value.info.status == 507
    assert say(pool, echo("a", pinned=True)) == "hi"
    assert pool.client.unload("a", by_force=False)
    assert say(pool, echo("b")) == "hi"


def sparse(folder: Path, name: str, size: int) -> ModelConfig:
    with open(folder / name, "wb") as file:
        file.truncate(size)
    return ModelConfig(
        name=name, backend="echo", options=("scripted",), parameters=Parameters(model=name), models_path=str(folder)
    )


def test_models_share_the_memory_that_they_may_take(start: Start, tmp_path: Path) -> None:
    pool = start(LOCALAI_MEMORY_BUDGET="300MB")
    a, b, large = (sparse(tmp_path, name, size * MB) for name, size in (("a", 100), ("b", 250), ("large", 400)))
    assert say(pool, a) == "hi"
    with pytest.raises(ApiError, match=r"Model large needs \d+ MiB of memory, and of the \d+ MiB") as no:
        pool.session(large)
    assert (no.value.info.status, no.value.info.code) == (507, "no_room")
    assert described(pool, "a").state == "ready", "it was unloaded in vain"
    assert say(pool, b) == "hi"
    assert described(pool, "a").state == "absent"
    assert 10 * MB < described(pool, "b").memory_bytes < 200 * MB, "what is measured counts, not the file"
    assert say(pool, a) == "hi"
    assert described(pool, "b").state == "ready", "there was room beside what it really takes"


HOARDER = """
from localai_flask.backends.echo import EchoBackend


class HoarderBackend(EchoBackend):
    \"\"\"Keeps 8 MiB of each request for later.\"\"\"

    kept = []

    def start(self, job):
        self.kept.append(b"x" * (8 << 20))
        return super().start(job)

    @property
    def spare_bytes(self):
        return len(self.kept) << 23

    def give_back(self, size):
        del self.kept[: -(-size >> 23)]
"""


def test_an_idle_model_gives_back_what_it_keeps_and_stays(start: Start, tmp_path: Path) -> None:
    about = tmp_path / "hoarder-1.dist-info"
    about.mkdir()
    (tmp_path / "hoarder.py").write_text(HOARDER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hoarder\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[localai_flask.engines]\nhoarder = hoarder:HoarderBackend\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    pool = start(LOCALAI_MEMORY_BUDGET="320MB", PYTHONPATH=path)
    hoarder = ModelConfig(name="hoarder", backend="hoarder", options=("scripted",))
    for _ in range(23):
        assert say(pool, hoarder) == "hi"
    wait_for(lambda: described(pool, "hoarder").memory_bytes > 180 * MB, 5, "it is full")
    assert say(pool, sparse(tmp_path, "new", 120 * MB)) == "hi"
    assert described(pool, "hoarder").state == "ready" and pool.count("makes room") == 0
    assert described(pool, "hoarder").memory_bytes < 180 * MB


def test_models_of_one_group_are_not_loaded_together(start: Start) -> None:
    pool = start()
    heavy = {"concurrency_groups": ("heavy",)}
    for name in ("a", "b"):
        assert say(pool, echo(name, **heavy)) == "hi"
    assert say(pool, echo("small")) == "hi"
    assert [described(pool, name).state for name in ("a", "b", "small")] == ["absent", "ready", "ready"]


def test_a_load_that_dies_of_memory_is_tried_once_more_alone(start: Start) -> None:
    pool = start()
    assert say(pool, echo("a")) == "hi"
    with pytest.raises(ApiError, match="SIGKILL, perhaps the machine is out of memory"):
        pool.session(echo("b", "fatal_signal:SIGKILL"))
    assert pool.count("loading model b") == 2
    assert pool.count("model a makes room for b") == 1
    assert described(pool, "b").state == "cooling"
    assert say(pool, echo("a")) == "hi"


def test_idle_models_leave_and_requests_say_how_long_one_stays(start: Start) -> None:
    pool = start(LOCALAI_WATCHDOG_IDLE="true", LOCALAI_WATCHDOG_IDLE_TIMEOUT="1s")
    for name, keep_alive in (("a", None), ("b", -1.0)):
        session = pool.session(echo(name))
        session.keep_alive_s = keep_alive
        assert whole(ask(session, "hi"))[0] == "hi"
    wait_for(lambda: described(pool, "a").state == "absent", 8, "the idle model gone")
    time.sleep(1)
    assert described(pool, "b").state == "ready"
    session.keep_alive_s = 0.0
    assert whole(ask(session, "hi"))[0] == "hi"
    wait_for(lambda: described(pool, "b").state == "absent", 8, "the model gone that is not to be kept")
    wait_for(lambda: pool.client.states() == {"a": "cold", "b": "cold"}, 5, "clients hear of it")


def test_requests_that_bring_forth_nothing_cost_a_worker_and_slow_ones_do_not(start: Start) -> None:
    pool = start(LOCALAI_WATCHDOG_BUSY="true", LOCALAI_WATCHDOG_BUSY_TIMEOUT="2s")
    slow, stuck = (pool.session(echo(name)) for name in ("slow", "stuck"))
    long = texts(ask(slow, json.dumps({"say": "abcdefghij", "pace_ms": 600})))
    with pytest.raises(ApiError, match="ended while it ran"):
        whole(ask(stuck, json.dumps({"say": "ab", "stall_after": 1})))
    wait_for(lambda: pool.count("its requests have brought forth nothing for") == 1, 5, "the log says why")
    assert "".join(long) == "abcdefghij"


def test_unloading_by_force_ends_what_runs(start: Start) -> None:
    pool = start()
    long = texts(ask(pool.session(echo()), json.dumps({"say": "x" * 100, "pace_ms": 100})))
    assert next(long) == "x"
    assert pool.client.unload("echo", by_force=False)
    time.sleep(0.5)
    assert next(long).startswith("x"), "what runs is let end"
    assert pool.client.unload("echo", by_force=True)
    with pytest.raises(ApiError):
        list(long)
    wait_for(lambda: not described(pool, "echo").workers, 5, "its worker gone")
    assert not pool.client.unload("echo", by_force=True)
    assert say(pool, echo()) == "hi"


def test_loads_and_unloads_leave_nothing_behind(start: Start) -> None:
    pool = start()

    def once() -> None:
        assert say(pool, echo()) == "hi"
        assert pool.client.unload("echo", by_force=False)
        wait_for(lambda: not pool.workers(), 5, "its worker gone")

    def left() -> tuple[int, int, list[str]]:
        manager, own = (len(os.listdir(f"/proc/{pid}/fd")) for pid in (pool.manager.pid, os.getpid()))
        return manager, own, sorted(path.name for path in pool.runtime.path.iterdir())

    for _ in range(3):
        once()
    time.sleep(0.5)
    before, resident = left(), processes.resident_bytes(pool.manager.pid)
    for _ in range(15):
        once()
    wait_for(lambda: left() == before, 5, f"as many files as before, {before}")
    assert processes.resident_bytes(pool.manager.pid) < resident + 3 * MB
