"""When running work must stop although the model has not: its client hung up, or the server's time to drain is over."""

from __future__ import annotations

import select
import socket
import ssl
import time
from typing import Any

from localai_flask.api.current import record_in
from localai_flask.errors import ServerShuttingDown
from localai_flask.metrics.request_record import CLIENT_LEFT

LOOK_S = 0.25
"""How often to look whether the client is still there."""

LONGEST_PAUSE_S = 30.0
"""Between two questions whether a client is there that sends nothing more; at first it is `LOOK_S`, and it doubles."""
RESET_MS = 20
"""How long to wait for the reset at once, which in a local network takes less; a later look sees it too."""
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL

_drain_deadline: float | None = None


class ClientLeft(Exception):
    """Nobody waits for this response any more."""


def drain_until(deadline: float) -> None:
    """Let running work go on until `deadline` (on the clock of `time.monotonic`), then end it with an error event."""
    global _drain_deadline
    _drain_deadline = deadline


def is_draining() -> bool:
    """Return whether the server is stopping, so that what would never end by itself has to."""
    return _drain_deadline is not None


class Watch:
    """Looks, for one request, at its client and at the clock."""

    def __init__(self, environ: dict[str, Any]):
        sock = environ.get("gunicorn.socket")
        self.record = record_in(environ)
        self._client = Client(sock, environ["SERVER_PROTOCOL"]) if isinstance(sock, socket.socket) else None
        self._next_look = 0.0

    def check(self) -> None:
        """Raise `ClientLeft` or an `ApiError` if the work has to stop; cheap enough for every token."""
        self.record.check()
        now = time.monotonic()
        if _drain_deadline is not None and now >= _drain_deadline:
            raise ServerShuttingDown("The server is shutting down and could not finish this answer; try again.")
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            if self._client is not None and self._client.has_left():
                self.record.code = CLIENT_LEFT
                raise ClientLeft


class Client:
    """The other end of a connection: is it still there?

    A client that has closed its socket and one that only has nothing more to send look the same on TCP (RFC 9112,
    section 9.6, lets it do the latter), until something is written: the former answers with a reset. A stream writes
    anyhow, at least a comment. Before the answer begins an interim one is written, `100 Continue`, which every client
    of HTTP/1.1 passes over, asked for or not (RFC 9110, section 15.2.1). HTTP/1.0 has no interim answers, so there the
    end of what is sent counts as a hang-up; so it does on TLS.
    """

    def __init__(self, sock: socket.socket, protocol: str):
        self._socket = sock
        self._may_half_close = protocol != "HTTP/1.0" and not isinstance(sock, ssl.SSLSocket)
        self._next_question = 0.0
        self._pause_s = LOOK_S

    def has_left(self) -> bool:
        seen = self._poll(0)
        if seen & GONE or not seen & select.POLLRDHUP:
            return bool(seen & GONE)
        if not self._may_half_close and not self._is_answered:
            return True
        if self._is_answered or time.monotonic() < self._next_question or self._socket.family == socket.AF_UNIX:
            return False  # on a Unix socket a close looks different at once
        return self._does_not_answer()

    @property
    def _is_answered(self) -> bool:
        return getattr(self._socket, "is_answering", False)

    def _does_not_answer(self) -> bool:
        self._next_question = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        try:
            self._socket.send(INTERIM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return bool(self._poll(RESET_MS) & GONE)

    def _poll(self, timeout_ms: int) -> int:
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLRDHUP if timeout_ms == 0 else 0)
            return sum(seen for _, seen in poll.poll(timeout_ms))
        except (OSError, ValueError):  # closed by our own side
            return GONE
