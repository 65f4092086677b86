"""When running work must stop although the model has not: its client hung up, or the server's time to drain is over."""

from __future__ import annotations

import select
import socket
import ssl
import time
from typing import Any

from localai_flask.errors import ServerShuttingDown

LOOK_S = 0.25
"""How often to look whether the client is still there."""

_drain_deadline: float | None = None


class ClientLeft(Exception):
    """Nobody waits for this response any more."""


def drain_until(deadline: float) -> None:
    """Let running work go on until `deadline` (on the clock of `time.monotonic`), then end it with an error event."""
    global _drain_deadline
    _drain_deadline = deadline


class Watch:
    """Looks, for one request, at its client and at the clock."""

    def __init__(self, environ: dict[str, Any]):
        sock = environ.get("gunicorn.socket")
        # recv flags are refused by an SSLSocket, so behind TLS only a failing write tells of a hang-up.
        self._socket = sock if isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket) else None
        self._next_look = 0.0

    def check(self) -> None:
        """Raise `ClientLeft` or `ServerShuttingDown` if the work has to stop; cheap enough for every token."""
        now = time.monotonic()
        if _drain_deadline is not None and now >= _drain_deadline:
            raise ServerShuttingDown("The server is shutting down and could not finish this answer; try again.")
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            if self._socket is not None and _has_hung_up(self._socket):
                raise ClientLeft


def _has_hung_up(sock: socket.socket) -> bool:
    # A WSGI server does not read while a response is made, so a closed connection shows as an end-of-file to be read.
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(0):
            return False
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except (OSError, ValueError):  # reset, or closed by our own side
        return True
