"""The manager: what it adopts, retires, retries and reports, and how it is kept running."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from localai_flask.config.folder.look import NEVER, Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, Unavailable
from localai_flask.pool import protocol, proxy
from localai_flask.pool.client.pool_client import PoolClient
from localai_flask.pool.manager.manager import PoolManager
from localai_flask.pool.manager.worker_process import WorkerProcess
from localai_flask.pool.model_logs import ModelLogs
from localai_flask.pool.protocol import News
from localai_flask.pool.proxy import PoolProxy, connect
from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.server.processes import child
from localai_flask.server.processes.kept_process import KeptProcess, Service
from localai_flask.settings import Settings
from tests.support import processes
from tests.support.pool import Pool, ask, echo, whole
from tests.support.processes import wait_for

NOW = Look(1.0, 1.0)


def is_ready(pool: Pool) -> bool:
    try:
        pool.client.check(0.5)
    except Unavailable:
        return False
    return True


def test_a_load_goes_on_under_the_next_manager(pool: Pool) -> None:
    config = echo("slow", "load_seconds:3.5")
    sessions: list[object] = []
    thread = threading.Thread(target=lambda: sessions.append(pool.session(config)))
    thread.start()
    (worker,) = wait_for(pool.workers, 5, "the worker")
    time.sleep(0.7)  # the load has begun
    pool.manager.kill()
    pool.manager.wait()
    pool.manager = pool.start_manager()
    seen = set()
    while thread.is_alive():
        seen.update(pool.workers())
        time.sleep(0.05)
    assert len(sessions) == 1
    assert seen == {worker}, "the model was loaded twice"


def test_nobody_waits_for_workers_that_died_with_their_manager(pool: Pool) -> None:
    assert pool.runtime.living_workers() == set()
    pool.session(echo())
    (worker,) = pool.workers()
    (living,) = pool.runtime.living_workers()
    successor = PoolManager(Settings(), pool.runtime, adopt=True)
    successor._may_start_at = math.inf
    successor.tick()
    assert successor._is_adopting, "the worker lives and has not registered"
    for pid in [pool.manager.pid, worker]:
        os.kill(pid, signal.SIGKILL)
    pool.manager.wait()
    wait_for(lambda: not pool.runtime.living_workers(), 5, "the worker's last thread has ended")
    successor.tick()
    assert not successor._is_adopting and not pool.runtime.worker_hand(living).exists()
    pool.manager = pool.start_manager()


def test_what_died_with_its_manager_leaves_nothing(pool: Pool) -> None:
    pool.session(echo())
    for pid in [pool.manager.pid, *pool.workers()]:
        os.kill(pid, signal.SIGKILL)
    pool.manager.wait()
    assert len(list(pool.runtime.path.glob("*.hand"))) == 1
    pool.manager = pool.start_manager()
    wait_for(lambda: not list(pool.runtime.path.glob("*.hand")), 5, "the file removed")


def test_surplus_workers_are_sent_away(pool: Pool) -> None:
    pool.session(echo())
    (worker,) = pool.workers()
    os.kill(worker, signal.SIGSTOP)  # so that it cannot register in time
    pool.manager.kill()
    pool.manager.wait()
    pool.manager = pool.start_manager()
    try:
        pool.client.session(echo())
        pool.client._started()[0].want(echo(), NOW)
        wait_for(lambda: len(pool.workers()) == 2, 8, "a second worker")
        wait_for(lambda: pool.client.states().get("echo") == "ready", 5, "the second worker ready")
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_for(lambda: len(pool.workers()) == 1, 5, "one worker of two gone")
    assert whole(ask(pool.session(echo()), "on"))[0] == "on"


def test_a_web_worker_that_has_not_seen_the_new_yaml_does_not_bring_the_old_back(pool: Pool) -> None:
    pool.session(echo())
    new = pool.session(echo(context_size=100))
    stale = PoolClient(pool.runtime, lambda config: Look(1.0, 2.0))
    with pytest.raises(ApiError, match="just changed; try again"):
        list(stale.session(echo()).wait_ready())
    assert whole(ask(new, "on"))[0] == "on"
    assert len(pool.workers()) == 1


def test_an_edit_that_is_undone_at_once_brings_the_old_back(pool: Pool) -> None:
    for config in (echo(), echo(context_size=100), echo(), echo(context_size=100), echo()):
        assert whole(ask(pool.session(config), "on"))[0] == "on"
    wait_for(lambda: len(pool.workers()) == 1, 5, "the workers of other forms gone")


class TestForms:
    """Which of a model's forms the manager takes for the one that its YAML has now."""

    OLD, NEW = echo(), echo(context_size=100)

    @pytest.fixture
    def manager(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PoolManager:
        process = SimpleNamespace(pid=1, has_ended=False, exit_status=None, terminate=lambda: None, retire=lambda: None)
        monkeypatch.setattr(WorkerProcess, "start", lambda *_, **__: process)
        return PoolManager(Settings(), Runtime(tmp_path))

    def ask(self, manager: PoolManager, config: ModelConfig, begun: float, ended: float) -> dict[str, str]:
        """Ask for a form as seen at a look, and return the state of each known form, by its key."""
        manager.sync(protocol.encode(News([protocol.wanted(config, Look(begun, ended))])))
        manager.tick()
        statuses = protocol.decode_directory(manager.sync(protocol.encode(News([]))))
        return {key: status.state for key, status in statuses.models.items()}

    def test_the_later_look_is_right(self, manager: PoolManager) -> None:
        assert self.ask(manager, self.OLD, 1.0, 1.1) == {self.OLD.key: "loading"}
        only_new = {self.OLD.key: "draining", self.NEW.key: "loading"}
        assert self.ask(manager, self.NEW, 2.0, 2.1) == only_new
        assert self.ask(manager, self.OLD, 1.5, 1.6) == only_new, "brought back by who has not looked again"
        only_old = {self.OLD.key: "loading", self.NEW.key: "draining"}
        assert self.ask(manager, self.OLD, 3.0, 3.1) == only_old, "an edit cannot be undone"
        assert self.ask(manager, self.NEW, 2.5, 2.6) == only_old

    def test_looks_at_the_same_time_change_nothing(self, manager: PoolManager) -> None:
        self.ask(manager, self.OLD, 1.0, 1.1)
        self.ask(manager, self.NEW, 2.0, 2.2)
        for _ in range(3):
            assert self.ask(manager, self.OLD, 2.1, 2.3)[self.NEW.key] == "loading"

    def test_each_confirmation_counts(self, manager: PoolManager) -> None:
        self.ask(manager, self.NEW, 2.0, 2.1)
        self.ask(manager, self.NEW, 5.0, 5.1)
        self.ask(manager, self.NEW, 3.0, 3.1)
        assert self.ask(manager, self.OLD, 4.0, 4.1)[self.NEW.key] == "loading"

    def test_who_finds_it_changed_gets_it_only_if_nobody_has_another(self, manager: PoolManager) -> None:
        assert self.ask(manager, self.OLD, *NEVER) == {self.OLD.key: "loading"}
        assert self.ask(manager, self.NEW, 1.0, 1.1)[self.OLD.key] == "draining"
        assert self.ask(manager, self.OLD, *NEVER)[self.NEW.key] == "loading"

    def test_an_edit_while_it_loads_is_no_failure(self, manager: PoolManager) -> None:
        self.ask(manager, self.OLD, 1.0, 1.1)
        self.ask(manager, self.NEW, 2.0, 2.1)
        manager.table.models[self.OLD.key].workers.clear()
        self.ask(manager, self.OLD, 1.5, 1.6)
        statuses = protocol.decode_directory(manager.sync(protocol.encode(News([])))).models
        assert [(each.state, each.required) for each in statuses.values()] == [("absent", False), ("loading", False)]
        assert list(statuses) == [self.OLD.key, self.NEW.key]
        [report] = protocol.decode_pool_report(manager.describe()).models
        assert (report.state, report.error) == ("loading", None)

    def test_unloading_brings_no_old_form_back(self, manager: PoolManager) -> None:
        self.ask(manager, self.OLD, 1.0, 1.1)
        self.ask(manager, self.NEW, 2.0, 2.1)
        manager.unload(self.OLD.name, by_force=False)
        assert self.ask(manager, self.OLD, 1.5, 1.6)[self.OLD.key] == "draining"

    def test_what_is_required_stays_so_in_its_new_form(self, manager: PoolManager) -> None:
        manager.require("echo", protocol.wanted(self.OLD, Look(1.0, 1.1)))
        self.ask(manager, self.NEW, 2.0, 2.1)
        models = manager.table.models
        assert models[self.NEW.key].intent.required and not models[self.OLD.key].intent.required


def test_workers_that_leave_politely_are_no_crashes(pool: Pool) -> None:
    for _ in range(5):
        session = pool.session(echo())
        assert whole(ask(session, "hi"))[0] == "hi"
        (worker,) = pool.workers()
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda pid=worker: pid not in pool.workers(), 5, "the worker gone")


def test_a_worker_that_hangs_while_it_leaves_is_ended(tmp_path: Path) -> None:
    pool = Pool(tmp_path, LOCALAI_WORKER_SILENCE_TIMEOUT="1.5")
    try:
        pool.session(echo())
        (old,) = pool.workers()
        os.kill(old, signal.SIGSTOP)
        pool.session(echo(context_size=100))
        wait_for(lambda: old not in pool.workers(), 5, "the hung worker gone")
    finally:
        pool.close()


def test_a_death_is_told_with_the_last_words(pool: Pool) -> None:
    session = pool.client.session(echo("slow", "load_seconds:30"))
    waiting = session.wait_ready(0.1)
    while not next(waiting):
        pass
    logs = ModelLogs(pool.runtime.path)
    with logs.open("slow") as log:
        log.write(b"ggml: out of paper\n[2026-11-26 17:20:12,520] [7] [INFO] not the last word\n")
    os.kill(pool.workers()[0], signal.SIGKILL)
    with pytest.raises(ApiError, match=r"killed by SIGKILL.* It last said: ggml: out of paper"):
        list(waiting)
    assert not list(pool.runtime.path.glob("*.hand"))
    *_, before, end = logs.read("slow", 10)
    assert "ended while loading" in end.text and before.text.endswith("not the last word")


def test_a_required_model_is_missed_and_found_when_its_file_appears(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    pool = Pool(tmp_path, LOCALAI_MODELS_PATH=str(models), LOCALAI_LOAD_TO_MEMORY="later")
    try:
        wait_for(lambda: pool.client.states().get("later") == "failed", 5, "the model missed")
        with pytest.raises(Unavailable, match="Model later is not ready: There is no model 'later'"):
            pool.client.check(0.5)
        (models / "later.yaml").write_text("name: later\nbackend: echo\n  broken")
        wait_for(lambda: _complaint(pool, "later.yaml"), 5, "the broken YAML named")
        (models / "later.yaml").write_text("name: later\nbackend: echo\n")
        wait_for(lambda: is_ready(pool), 5, "ready")
    finally:
        pool.close()


def _complaint(pool: Pool, words: str) -> bool:
    try:
        pool.client.check(0.5)
    except Unavailable as error:
        return words in str(error)
    return False


def test_a_worker_that_cannot_be_started_is_the_models_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(WorkerProcess, "start", start)
    manager = PoolManager(Settings(), Runtime(tmp_path))
    config = echo()
    manager.sync(protocol.encode(News([protocol.wanted(config, NOW)])))
    manager.tick()
    status = protocol.decode_directory(manager.sync(protocol.encode(News([])))).models[config.key]
    assert status.error is not None
    assert "Cannot start a worker for model echo" in status.error.message


def test_a_manager_that_hangs_blocks_no_client_for_ever(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "ANSWER_S", 0.3)
    client = wait_for(lambda: _connected(pool.runtime), 5, "the manager listens")
    os.kill(pool.manager.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                connect(pool.runtime)
        with pytest.raises(BlockingIOError):
            client.sync(News([]))
        del client  # which tells the manager, or tries to
        assert time.monotonic() - begun < 3
    finally:
        os.kill(pool.manager.pid, signal.SIGCONT)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A manager that is kept running, with this process as the arbiter."""
    monkeypatch.setattr(child, "START_S", 10.0)
    runtime = Runtime.create(tmp_path)
    service = Service(name="the manager", module="localai_flask.pool.manager", silence_s=1.0, grace_s=8.0)
    guard = KeptProcess(service, {**os.environ, ENV: str(runtime.path)})
    guard.start()
    yield runtime
    guard.stop()
    assert not processes.belonging_to(str(runtime.path))
    runtime.remove()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL])
def test_a_manager_that_hangs_or_ends_is_replaced(watched: Runtime, number: int) -> None:
    (manager,) = wait_for(lambda: processes.belonging_to(str(watched.path)), 20)
    wait_for(watched.manager_socket.exists, 20, "the manager listens")
    os.kill(manager, number)
    wait_for(lambda: processes.belonging_to(str(watched.path)) not in ([], [manager]), 30, "another manager")
    wait_for(lambda: _connected(watched), 20, "the new manager answers")
    assert processes.state(manager) == "", "the ended manager was not reaped"


def _connected(runtime: Runtime) -> PoolProxy | None:
    try:
        return connect(runtime)
    except OSError:
        return None
