"""The socket of a client as request threads write to it: with an end to their patience."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from typing import Any

log = logging.getLogger("gunicorn.error")

SLOWEST = 16 * 1024
"""Bytes a second that a client takes at least, beyond its time."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""A client whose machine has vanished is gone after a minute, also while nothing is written."""


class ClientSocket(socket.socket):
    """Writes as `socket.socket` does, but gives a client up that takes nothing for `patience_s` seconds.

    That looks like a client that has left (`BrokenPipeError`), and what was not sent is thrown away.
    """

    patience_s = 30.0
    is_answering = False
    """Whether something of the answer to the present request has been written."""
    was_given_up = False
    admitted: Any = None
    """What the present request was admitted with."""
    arrived = 0.0
    """When the present request was whole, on the clock of `time.monotonic`."""

    @classmethod
    def adopt(cls, accepted: socket.socket, patience_s: float) -> ClientSocket:
        """Take over what `accept` returned."""
        client = cls(accepted.family, accepted.type, accepted.proto, accepted.detach())
        client.patience_s = patience_s
        return client

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self.gettimeout() == 0:
            super().sendall(data, flags)
            return
        self.is_answering = True
        self.settimeout(self.patience_s + len(data) / SLOWEST)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise self._give_up() from None

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        self.settimeout(self.patience_s)
        try:
            return super().sendfile(file, offset, count)
        except TimeoutError:
            raise self._give_up() from None

    def _give_up(self) -> BrokenPipeError:
        self.was_given_up = True
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close it with a reset
        log.warning("gave a client up that has taken nothing for %g s", self.patience_s)
        return BrokenPipeError(errno.EPIPE, "the client takes nothing")


def prepare_listener(listener: Any, patience_s: float) -> None:
    """Have the kernel give up clients whose machines have vanished: what is accepted has the listener's options."""
    if listener.family == socket.AF_UNIX:
        return
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        listener.setsockopt(socket.IPPROTO_TCP, option, value)
    # Also after our close: the kernel keeps what was not sent for a client that takes nothing, for minutes.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * patience_s))
