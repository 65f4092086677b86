"""Background runs and installations: the process that works on them, `python -m localai_flask.background.runner`.

One for each server, kept running by gunicorn's arbiter, so that a run outlives the client that asked for it and the web
worker that took the request. The main thread alone writes to the database: every `TICK_S` what all runs have told
since, in one transaction. Each run has a thread, which waits for its model and never for the database.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from flask import Flask

from localai_flask import log_privacy
from localai_flask.api import current
from localai_flask.app import create_app, take_up_settings
from localai_flask.background import chat_runs, response_runs
from localai_flask.background.batches.batches import BatchesAtWork
from localai_flask.background.housekeeping import Housekeeping
from localai_flask.background.installs import Installs
from localai_flask.background.run import Run
from localai_flask.errors import Unavailable
from localai_flask.metrics import tracing
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.pool.announced_settings import AnnouncedSettings
from localai_flask.pool.protocol import LOG_FORMAT
from localai_flask.pool.runtime import Runtime, is_alive
from localai_flask.server.processes.child import beat
from localai_flask.settings import Settings
from localai_flask.store.responses import responses, streams
from localai_flask.store.responses.runs import Batch, Claimed

log = logging.getLogger("gunicorn.error")

TICK_S = 0.05
RETRY_S = 1.0
CLAIM_S = 0.1
UNWRITTEN_S = 60.0
"""How long a database may be away before the process gives up; its runs are then recovered by the next one."""


class Kind(NamedTuple):
    """How runs are worked on; where they go on behind what another process has told, that is read for them."""

    record_of: Callable[[Claimed], RequestRecord]
    work: Callable[[Flask, Run], None]
    goes_on: bool


KINDS = {
    responses.KIND: Kind(response_runs.record_of, response_runs.work, goes_on=True),
    streams.KIND: Kind(chat_runs.record_of, chat_runs.work, goes_on=False),
}


class Runner:
    """Claims runs and works on them until it is told to stop."""

    def __init__(self, app: Flask, home: str):
        self._app = app
        self._home = home
        self._owner = f"{home}/{os.getpid()}"
        with app.app_context():
            settings = current.settings()
            self._store = current.store()
            self._batches = BatchesAtWork(app, self._store, home, self._owner, lambda: len(self._running))
            self._installs = Installs(self._store.database, settings, home, self._owner)
            self._housekeeping = Housekeeping(self._store, settings, self._installs.forget_old)
        self._announced = AnnouncedSettings(Runtime.from_environment().settings_file, settings)
        self._most = settings.http_threads
        self._running: dict[str, Run] = {}
        self._unwritten: dict[str, Batch] = {}
        self._claim_at = 0.0
        self._written_at = time.monotonic()

    def run(self, stopping: threading.Event, grace_s: float, may_go_on: Callable[[], bool]) -> None:
        """Work until `stopping`, then let what has begun end, but not longer than `grace_s`.

        `may_go_on` is called on each tick; once it is False, nobody waits for the runs any more.
        """
        self._store.runs.abandon(self._home, but=self._owner)
        while not stopping.wait(TICK_S) and may_go_on():
            if (settings := self._announced.look()) is not None:
                self._take_up(settings)
            self._tick(time.monotonic())
        deadline = time.monotonic() + grace_s
        self._installs.give_back()
        self._batches.give_back()
        self._give_back()
        while (self._running or self._batches.is_at_work) and may_go_on():
            for run in self._running.values():
                run.shutting_down = time.monotonic() >= deadline
            self._write()
            time.sleep(TICK_S)

    def _take_up(self, settings: Settings) -> None:
        """Go on with other settings; runs that have begun keep the deadline that they began with."""
        take_up_settings(self._app, settings)
        self._most = settings.http_threads
        self._installs.settings = self._housekeeping.settings = settings

    def _tick(self, now: float) -> None:
        try:
            self._write()
            if now >= self._claim_at:
                self._claim_at = now + CLAIM_S
                self._claim()
            self._installs.tick(now)
            self._batches.tick(now)
            self._housekeeping.tick(now)
            self._written_at = now
        except Unavailable:
            if now - self._written_at > UNWRITTEN_S:
                raise
            time.sleep(RETRY_S)  # the store has logged it

    def _write(self) -> None:
        for id, run in self._running.items():
            if (batch := run.take()) is not None:
                before = self._unwritten.get(id, Batch())
                begun = before.begun or batch.begun
                self._unwritten[id] = Batch(before.events + batch.events, begun, before.ended or batch.ended)
        if not self._unwritten:
            return
        told = self._store.runs.write(self._owner, self._unwritten)
        for id, batch in self._unwritten.items():
            if id in told.lost:
                self._running[id].gone = True
            elif id in told.cancelled:
                self._running[id].cancelled = True
            if id in told.lost or batch.ended is not None:
                del self._running[id]
        self._unwritten = {}

    def _claim(self) -> None:
        runs = self._store.runs
        while (claimed := self._claim_one()) is not None:
            kind = KINDS[claimed.kind]
            # Read here, as a database that fails now leaves the run to whoever claims it when its lease has run out.
            is_read = claimed.begun and kind.goes_on
            before = runs.events_after(claimed.id, -1, claimed.next_sequence) if is_read else []
            run = self._running[claimed.id] = Run(claimed, kind.record_of(claimed), before)
            threading.Thread(target=kind.work, args=(self._app, run), name=f"run-{run.id}", daemon=True).start()

    def _claim_one(self) -> Claimed | None:
        is_full = len(self._running) >= self._most
        return self._store.runs.claim(self._home, self._owner, is_full, self._resting())

    def _resting(self) -> list[str]:
        """Return the keepers whose keys have as many responses at work as they may: half of all, or what the key says.

        So that of one key's hundreds none takes the place of another key's first.
        """
        at_work = Counter(run.claimed.keeper for run in self._running.values() if run.claimed.kind == responses.KIND)
        return [keeper for keeper, count in at_work.items() if keeper and count >= self._share_of(keeper)]

    def _share_of(self, keeper: str) -> int:
        with self._app.app_context():
            owner = current.keys().of_keeper(keeper)
        share = max(1, self._most // 2)
        return min(share, owner.max_requests) if owner is not None and owner.max_requests else share

    def _give_back(self) -> None:
        back = [id for id, run in self._running.items() if run.give_back()]
        for id in back:
            del self._running[id]
            self._unwritten.pop(id, None)
        self._store.runs.release(self._owner, back)


def _await_database(app: Flask, stopping: threading.Event, may_go_on: Callable[[], bool]) -> bool:
    """Wait until the database answers, which may start later than this server; False if the server stops before."""
    was_away = False
    with app.app_context():
        while not stopping.is_set() and may_go_on():
            try:
                current.store_probe().check(RETRY_S)
            except Unavailable:
                was_away = True
                stopping.wait(RETRY_S)
            else:
                if was_away:
                    log.info("the database of responses answers")
                return True
    return False


def _event_of(number: signal.Signals) -> threading.Event:
    """Return an event that a signal sets: by a thread, as a handler may interrupt the very lines that hold its lock."""
    event = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})  # also in all threads that are made from here on

    def wait() -> None:
        signal.sigwait({number})
        event.set()

    threading.Thread(target=wait, name="signal", daemon=True).start()
    return event


def main() -> None:
    settings = Settings.from_environment()
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping = _event_of(signal.SIGTERM)
    runtime = Runtime.from_environment()
    pulse = int(sys.argv[1])

    def beat_beside_arbiter() -> bool:
        beat(pulse)
        return is_alive(runtime.arbiter_pid)

    app = create_app(settings)
    if not settings.log_prompts:
        log_privacy.hide_messages()
    app.extensions["in_flight"].serve(runtime.path)
    if _await_database(app, stopping, beat_beside_arbiter):
        try:
            Runner(app, runtime.server_name).run(stopping, settings.graceful_timeout, beat_beside_arbiter)
        except Unavailable:
            log.error("background responses are left to whoever finds them when their database is back")
    if (traced := tracing.of_process()) is not None:
        traced.flush()
    os._exit(0)  # threads whose model does not answer must not keep the process


if __name__ == "__main__":
    main()
