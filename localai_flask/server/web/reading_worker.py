"""gunicorn's worker with threads, in which the poller reads requests: a thread gets one only when it is whole.

So clients that send half of a request, or nothing, hold up nobody. Those that take too long are closed, and so are
those that have waited longest when connections or memory run out. What becomes of a whole request is web_worker.py's.
"""

from __future__ import annotations

import errno
import itertools
import logging
import selectors
import socket
import sys
import tempfile
import time
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors

from localai_flask.server.web import refusal
from localai_flask.server.web.arrival import Arrival, ParserSettings
from localai_flask.server.web.client_socket import ClientSocket, prepare_listener
from localai_flask.server.web.connection import Connection
from localai_flask.server.web.disk_room import DiskRoom
from localai_flask.server.web.goodbyes import Goodbyes
from localai_flask.server.web.refusing_worker import RefusingWorker
from localai_flask.settings import Settings

log = logging.getLogger("gunicorn.error")

READ_BYTES = 256 * 1024
LEAST_HELD = 256 * 2**20
"""Bytes of requests that a web worker holds before it closes those that have waited longest."""
SMALL = 64 * 1024
"""A request up to this size is not closed for the memory that it takes."""
SWEEP_S = 0.5
LARGE_AT_ONCE = 4
"""How many of the largest files a web worker takes in at the same time, on disk."""
GOODBYE_BODIES = 4
"""How many of the largest bodies are thrown away that a client still sends after its last answer."""
STOP_S = 2.0
"""How long a stopping worker waits for another request on a connection that is open."""
OUT_OF_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ReadingWorker(RefusingWorker):
    """Accepts connections, reads what arrives on them, and closes them."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._settings = settings = Settings.from_environment()
        self._most_bytes = settings.upload_limit * 2**20
        self._disk = DiskRoom(LARGE_AT_ONCE * (settings.file_limit + 1) * 2**20)  # with the forms around them
        self._parser_settings = ParserSettings(self.cfg)
        self._most_held = max(LEAST_HELD, 4 * self._most_bytes)
        self._patience_s = settings.client_timeout
        self._most_connections: int = self.cfg.worker_connections
        self._waiting: dict[Connection, None] = {}
        """Connections on which a request may arrive, in the order in which they began to wait for it."""
        self._goodbyes = Goodbyes(lambda: self.poller, GOODBYE_BODIES * self._most_bytes, self._close)
        self._held = 0
        self._next_sweep = 0.0
        self._reads_itself = not self.cfg.is_ssl and self.cfg.proxy_protocol == "off"
        if self._reads_itself:
            self.worker_connections = self.max_keepalived = sys.maxsize  # gunicorn would stop accepting, probes too
        self._addresses: dict[Any, Any] = {}
        """Where each listener listens."""

    def _serve(self, conn: Connection) -> None:
        """Answer a request that is whole."""
        raise NotImplementedError

    def _most_of(self, request: Any) -> int:
        """Return how long a request's body may be, in bytes."""
        raise NotImplementedError

    def _caller_of(self, request: Any) -> str:
        """Return whose key a request has; "" if it has none, or there are none."""
        raise NotImplementedError

    def _refuses_unread(self, conn: Connection) -> bool:
        """Return whether a request is refused without a look at its body, which then need not be sent."""
        raise NotImplementedError

    # --- connections come

    def accept(self, listener: Any) -> None:
        if not self._reads_itself:  # TLS, or a proxy's own protocol: gunicorn's threads read
            super().accept(listener)
            return
        try:
            accepted, client = listener.accept()
        except OSError as error:
            if error.errno in OUT_OF_ROOM:
                if not self._make_room():
                    time.sleep(0.01)  # until a request is done
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        if listener not in self._addresses:
            self._addresses[listener] = listener.getsockname()
        conn = Connection(self.cfg, ClientSocket.adopt(accepted, self._patience_s), client, self._addresses[listener])
        if self.nr_conns > self._most_connections and not self._make_room():
            self._refuse(conn, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "This server has no connection to spare.")
            return
        self._await_request(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        if enabled:
            for listener in self.sockets:
                prepare_listener(listener, self._patience_s)
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            self._close_doors()

    def _close_doors(self) -> None:
        """Take the connections that are there already, and have others refused, so that a proxy turns elsewhere.

        As long as the socket was open, the kernel would make connections on it that nobody would ever accept.
        """
        while self.sockets:
            listener = self.sockets.pop()
            before = -1
            while self.nr_conns > before:
                before = self.nr_conns
                self.accept(listener)
            listener.close()

    def _make_room(self) -> bool:
        """Close the connection that has waited longest, one on which nothing arrives first; return if there was one."""
        idle = (conn for conn in self._waiting if not conn.arrival.has_begun)
        conn = next(itertools.chain(self._goodbyes, idle, self._waiting), None)
        if conn is None:
            return False
        if conn in self._waiting and conn.arrival.has_begun:
            self._refuse(conn, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "This server has no connection to spare.")
        if conn in self._goodbyes or conn in self._waiting:
            self._close(conn)
        return True

    def _await_request(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        self._expect_request(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        if conn.rest:
            data, conn.rest = conn.rest, b""
            self._take(conn, data)

    def _expect_request(self, conn: Connection) -> None:
        """Have a connection wait behind those that wait already."""
        conn.arrival = Arrival(self._parser_settings, conn.client, self._most_of, self._patience_s, self._most_bytes)
        conn.is_known = False
        conn.deadline = time.monotonic() + (self.cfg.keepalive if self.alive else STOP_S)
        self._waiting.pop(conn, None)
        self._waiting[conn] = None

    # --- requests arrive

    def _receive(self, conn: Connection, _: socket.socket) -> None:
        if conn not in self._waiting:
            return  # it was closed for another one's sake after the poller had seen it
        try:
            data = conn.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(conn, data)
        else:
            self._close(conn)

    def _take(self, conn: Connection, data: bytes) -> None:
        """Take what came on a connection; the HTTP boundary of this thread, whose end would be that of all streams."""
        try:
            self._read_on(conn, data)
        except errors.ParseException as error:
            self._send(conn, refusal.refuse_malformed(error))
            self._note(conn.client, None, refusal.status_of(error), refusal.MALFORMED)
            self._say_goodbye(conn)
        except Exception as error:
            self._fail(conn, error)

    def _fail(self, conn: Connection, error: Exception) -> None:
        """Answer a request on which this thread has made a mistake."""
        self._send(conn, refusal.admit_mistake(conn.arrival.request, error))
        self._note(conn.client, conn.arrival.request, HTTPStatus.INTERNAL_SERVER_ERROR, refusal.MISTAKE)
        self._say_goodbye(conn)

    def _read_on(self, conn: Connection, data: bytes) -> None:
        try:
            rest = conn.arrival.feed(data)
        except OSError as error:  # its file has no room
            log.error("a large request cannot be kept in %s: %s", tempfile.gettempdir(), error.strerror)
            self._refuse(
                conn, HTTPStatus.INSUFFICIENT_STORAGE, "overloaded", "This server's disk is full; ask its operator."
            )
            return
        self._hold(conn, conn.arrival.size)
        conn.deadline = conn.arrival.deadline
        request = conn.arrival.request
        awaits_word = request is not None and request._expected_100_continue
        if awaits_word:
            request._expected_100_continue = False  # gunicorn would send it to whoever looks at the head
        if conn.arrival.is_large and not self._admits_large(conn):
            return
        if rest is not None:
            conn.rest = rest
            self._serve(conn)
            return
        if awaits_word:
            if not conn.is_known and self._refuses_unread(conn):
                conn.arrival.give_up()
                self._serve(conn)
                return
            self._send(conn, b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._held > self._most_held:
            self._free_memory()

    def _hold(self, conn: Connection, size: int) -> None:
        self._held += size - conn.held
        conn.held = size
        if not size and conn.on_disk:
            self._disk.take(conn, 0)

    def _admits_large(self, conn: Connection) -> bool:
        """Take a request that is larger than memory holds, if its key is good; return False if it was refused."""
        if not conn.is_known:
            if self._refuses_unread(conn):
                conn.arrival.give_up()
                self._serve(conn)
                return False
            conn.is_known, conn.sender = True, self._caller_of(conn.arrival.request)
        if self._disk.take(conn, conn.arrival.on_disk):
            return True
        self._refuse(
            conn, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "This server takes in too many large files now."
        )
        return False

    def _free_memory(self) -> None:
        """Close large requests, those first that have waited longest, until what is held is within bounds."""
        for conn in [conn for conn in self._waiting if conn.arrival.size > SMALL]:
            if self._held <= self._most_held:
                return
            self._refuse(conn, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "This server holds too many requests.")

    # --- connections go

    def _forget(self, conn: Connection) -> None:
        self._waiting.pop(conn, None)
        self._goodbyes.forget(conn)
        try:
            self.poller.unregister(conn.sock)
        except (KeyError, ValueError, OSError):
            pass  # it was not registered

    def _close(self, conn: Connection) -> None:
        self._hold(conn, 0)
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _say_goodbye(self, conn: Connection) -> None:
        """Part from a client that has its last answer."""
        self._hold(conn, 0)
        self._forget(conn)
        if not self._goodbyes.begin(conn):
            self._close(conn)

    def murder_pending(self) -> None:
        """Close what has taken too long; gunicorn's loop calls this at least every second."""
        super().murder_pending()
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_S
        self._sweep(now)

    def _sweep(self, now: float) -> None:
        for conn in [conn for conn in self._goodbyes if conn.deadline <= now]:
            self._close(conn)
        for conn in [conn for conn in self._waiting if conn.deadline <= now]:
            if conn.arrival.has_begun:
                self._refuse(
                    conn,
                    HTTPStatus.REQUEST_TIMEOUT,
                    "request_timeout",
                    "The request did not arrive in time; try again.",
                )
            else:
                self._close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections by `deadline` at the latest: gunicorn calls this when it begins to leave."""
        super()._cap_keepalive(deadline)
        for conn in self._waiting:
            if not conn.arrival.has_begun:
                conn.deadline = min(conn.deadline, deadline)

    # --- refusals

    def _refuse(self, conn: Connection, status: HTTPStatus, code: str, message: str) -> None:
        """Answer why the request is not answered, as far as the client takes that at once."""
        self._send(conn, refusal.render(status, code, message))
        self._note(conn.client, conn.arrival.request if conn in self._waiting else None, status, code)
        self._say_goodbye(conn)
