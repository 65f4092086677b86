"""The web worker: which whole requests get a thread and when, and how the worker leaves.

Probes have threads of their own. What works on a model has to pass the door (api/door/admission.py), and may have to
wait for its turn to be looked at, without a thread.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors, wsgi

from localai_flask.keys.shares import Shares
from localai_flask.keys.watched import are_required
from localai_flask.server.processes import fork_signals
from localai_flask.server.processes.succession import web_workers
from localai_flask.server.web import SPARE_THREADS
from localai_flask.server.web.connection import Arrived, Connection
from localai_flask.server.web.reading_worker import STOP_S, ReadingWorker

PROBES = {"/healthz": 2, "/health": 2, "/readyz": 8}
"""Threads that answer nothing else: no probe waits for other requests, nor that of life for that of readiness."""
PROBE_PATIENCE_S = 0.1
"""A probe's answer is short enough for any socket's buffer, unless its client reads nothing at all."""
TURN_S = 0.25
"""How long a request waits at most to be looked at, as some of those before it may wait for a disk or a database."""
BUSY = "As many requests of this key are answered as may be at once; read the answers faster, or ask for fewer."
HOLD_S = 0.1
"""How long it waits at most for the end of a flood: threads that work take the interpreter from the one that reads."""


class Worker(ReadingWorker):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._line: deque[Connection] = deque()
        """Those whose requests wait to be looked at (api/door/admission.py)."""
        self._probes: dict[str, ThreadPoolExecutor] = {}
        # A client that reads slowly keeps its thread, so those that work on models are not for requests such as
        # downloads, and one key's take half of the others at most.
        self._shares: Shares[Connection] = Shares(
            SPARE_THREADS, SPARE_THREADS // 2 if are_required(self._settings) else SPARE_THREADS
        )
        self._door: Any = None
        self._arrived = 0
        """Requests that have arrived so far."""
        self._are_more_coming = False
        """Whether any did when the poller was last asked."""

    def init_process(self) -> None:
        self._probes = {path: ThreadPoolExecutor(count, f"probe{path}") for path, count in PROBES.items()}
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        fork_signals.deliver()

    def _serve(self, conn: Connection) -> None:
        """Have a thread answer a request that is whole, unless the door refuses it."""
        request = conn.arrival.request
        request._expected_100_continue = False  # the body is here, or will never be read
        conn.sock.arrived = time.monotonic()
        self._arrived += 1
        if (pool := self._probes.get(request.path.rstrip("/"))) is not None:
            self._forget(conn)
            self._submit(conn, pool, PROBE_PATIENCE_S)
            return
        client = conn.client[0] if isinstance(conn.client, tuple) else ""
        door = self._open_door()
        admitted = door.admit(request, conn.arrival.body, client)
        if isinstance(admitted, bytes):
            if self._answer_at_door(conn, admitted):
                self._expect_request(conn)  # still registered, as under a flood each step counts
            return
        self._forget(conn)
        conn.sock.admitted = admitted
        if admitted is None and not door.takes_place_later(request):
            self._share_out(conn, self._caller_of(request))
        elif admitted is None or (not self._line and door.take_turn(admitted)):
            self._submit(conn, self.tpool, self._patience_s)
        else:
            conn.deadline = time.monotonic() + TURN_S
            self._line.append(conn)
            door.join_line(admitted)

    def _share_out(self, conn: Connection, caller: str) -> None:
        """Have a thread answer a request that needs no place, when its caller has one left."""
        conn.caller = caller
        if self._shares.try_take(caller):
            self._submit(conn, self.tpool, self._patience_s)
        else:
            self._shares.wait(caller, conn, time.monotonic() + self._patience_s)

    def _give_share_back(self, conn: Connection) -> None:
        if conn.caller is None:
            return
        self._shares.give_back(conn.caller)
        conn.caller = None
        for following in self._shares.take_next():
            self._submit(following, self.tpool, self._patience_s)

    def _submit(self, conn: Connection, pool: ThreadPoolExecutor, patience_s: float) -> None:
        conn.initialized, conn.parser = True, Arrived(conn.arrival.request)
        conn.sock.is_answering = False
        conn.sock.patience_s = patience_s
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _answer_at_door(self, conn: Connection, refused: bytes) -> bool:
        """Refuse a request; return whether another one may come on its connection."""
        self._send(conn, refused)
        self._hold(conn, 0)
        if conn.arrival.request.should_close() or conn.rest:  # what came behind it would be answered within this call
            self._say_goodbye(conn)
            return False
        return True

    def _advance_line(self) -> None:
        """Admit those in line whose turn it is, and refuse those whose model has said that it is full.

        They have no threads as long as they wait, since hundreds of these would take the processor from each other;
        and while more requests arrive, from the refusal of those for which there is no room.
        """
        while self._line:
            conn = self._line[0]
            if self._are_more_coming and conn.deadline - time.monotonic() > TURN_S - HOLD_S:
                return
            admitted = conn.sock.admitted
            refused = self._door.refuse_late(conn.arrival.request, admitted)
            if refused is None and not self._door.take_turn(admitted) and time.monotonic() < conn.deadline:
                return
            self._line.popleft()
            self._door.leave_line(admitted)
            try:
                self._end_wait(conn, refused)
            except Exception as error:
                self._fail(conn, error)

    def _end_wait(self, conn: Connection, refused: bytes | None) -> None:
        if refused is None:
            self._submit(conn, self.tpool, self._patience_s)
            return
        admitted, conn.sock.admitted = conn.sock.admitted, None
        admitted.release()
        if self._answer_at_door(conn, refused):
            self._await_request(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        if self._line:
            timeout = (
                0.0 if self._are_more_coming else min(timeout, max(0.0, self._line[0].deadline - time.monotonic()))
            )
        arrived = self._arrived
        super().wait_for_and_dispatch_events(timeout)
        self._are_more_coming = self._arrived > arrived
        self._advance_line()

    def _refuses_unread(self, conn: Connection) -> bool:
        """Return whether the application refuses a request without a look at its body, which then need not be sent."""
        try:
            _, environ = wsgi.create(conn.arrival.request, conn.sock, conn.client, conn.server, self.cfg)
        except errors.ConfigurationProblem:  # SCRIPT_NAME in the server's environment is no beginning of the path
            return True
        return bool(self._open_door().refuses_unread(environ))

    def _most_of(self, request: Any) -> int:
        return int(self._open_door().most_bytes(request))

    def _caller_of(self, request: Any) -> str:
        return str(self._open_door().caller_of(request))

    def _open_door(self) -> Any:
        if self._door is None:
            from localai_flask.api.door.admission import Door  # the arbiter imports this module, and needs no Flask

            self._door = Door(self.wsgi, lambda: self.method_queue.defer(self._advance_line))
        return self._door

    def handle(self, conn: Any) -> bool:
        """Answer a request in its thread; return whether the connection stays."""
        admitted = conn.sock.admitted if self._reads_itself else None
        if admitted is None:
            return bool(super().handle(conn))
        try:
            return bool(super().handle(conn))
        finally:
            self._door.leave(admitted)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Wait for the next request on the connection, or part from it."""
        if not self._reads_itself:
            super().finish_request(conn, fs)
            return
        self._hold(conn, 0)
        self._give_share_back(conn)
        if (admitted := conn.sock.admitted) is not None:
            conn.sock.admitted = None
            admitted.release()
        if not fs.cancelled() and fs.exception() is None and fs.result():
            self._await_request(conn)
        else:
            self._say_goodbye(conn)

    # --- the worker leaves

    def _sweep(self, now: float) -> None:
        """Leave when others serve, and close what has taken too long."""
        if web_workers.is_relieved(self.age):
            self._retire()
        for conn in self._shares.expire(now):
            conn.caller = None
            self._refuse(conn, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", BUSY)
        super()._sweep(now)

    def _retire(self) -> None:
        """Take no more connections, and leave when the last one has ended; its next answer says that it is its last.

        Idle connections stay as long as ever, so that none closes while a request is sent on it; but where one reload
        follows the other, workers that are still there for these alone would add up.
        """
        self.worker_connections = self.max_keepalived = 0
        if web_workers.is_outdated(self.age):
            self._cap_keepalive(time.monotonic() + STOP_S)
        if self.nr_conns == 0:
            self.alive = False

    def is_parent_alive(self) -> bool:
        """Return whether the arbiter is there; without it the models leave at once, so running answers end too."""
        if super().is_parent_alive():
            return True
        from localai_flask.api.work.watch import drain_until  # the arbiter imports this module, and answers nothing

        drain_until(time.monotonic())
        self.alive = False
        return False
