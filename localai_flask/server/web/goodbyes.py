"""Clients that have their last answer: listened to until they have taken it, which a reset would throw away.

See RFC 9112, section 9.6.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

from localai_flask.server.web.connection import Connection

READ_BYTES = 256 * 1024
GOODBYE_S = 2.0
"""How long a client that says nothing is listened to."""
LONGEST_GOODBYE_S = 30.0
"""How long one is listened to that still sends what has been refused, as nginx does before it looks at the answer."""


class Goodbyes:
    """The connections that are ending; `most_bytes` of a client's are thrown away, and then `close` is called."""

    def __init__(
        self, poller: Callable[[], selectors.BaseSelector], most_bytes: int, close: Callable[[Connection], None]
    ):
        self._poller = poller
        self._most_bytes = most_bytes
        self._close = close
        self._leaving: dict[Connection, None] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._leaving)

    def __contains__(self, conn: Connection) -> bool:
        return conn in self._leaving

    def begin(self, conn: Connection) -> bool:
        """Signal that nothing more comes, and wait for the client to do so too; return False if it is gone already."""
        try:
            conn.sock.setblocking(False)
            if conn.sock.was_given_up:
                return False
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        now = time.monotonic()
        conn.deadline, conn.last_deadline = now + GOODBYE_S, now + LONGEST_GOODBYE_S
        self._leaving[conn] = None
        self._poller().register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        return True

    def forget(self, conn: Connection) -> None:
        """Leave a connection to whoever closes it."""
        self._leaving.pop(conn, None)

    def _discard(self, conn: Connection, _: socket.socket) -> None:
        if conn not in self._leaving:
            return
        try:
            data = conn.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.discarded += len(data)
        conn.deadline = min(time.monotonic() + GOODBYE_S, conn.last_deadline)
        if not data or conn.discarded > self._most_bytes:
            self._close(conn)
