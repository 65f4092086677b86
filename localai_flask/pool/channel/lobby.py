"""Where new peers arrive: the listening socket, and the callers who have not said hello yet.

A caller who says nothing, or says it wrong, costs a descriptor for a few seconds and delays nobody. Knows nothing of
the channels once they are made.
"""

from __future__ import annotations

import logging
import select
import socket
import time

from localai_flask.pool.channel.endpoint import Channel
from localai_flask.pool.channel.handshake import peer_of, unix_socket, unshared_socket
from localai_flask.pool.channel.ring import ProtocolError

log = logging.getLogger(__name__)

BACKLOG = 128
MAX_CALLERS = 64
PATIENCE_S = 5.0
PAUSE_S = 0.5
"""How long nobody is let in after the process ran out of descriptors: the listener stays readable all the while."""


class Lobby:
    """Listens as an abstract name; OSError EADDRINUSE means that a living process has it."""

    def __init__(self, name: str):
        self._listener = unix_socket()
        try:
            self._listener.bind("\0" + name)
        except OSError:
            self._listener.close()
            raise
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._callers: dict[int, tuple[socket.socket, float]] = {}
        """The silent callers by descriptor, oldest first, and until when each may stay so."""
        self._paused_until: float | None = None
        self.next_deadline: float | None = None
        """When `welcome` must be called at the latest, on the clock of `time.monotonic()`."""
        self._epoll.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when `welcome` has something to do."""
        return self._epoll.fileno()

    @property
    def is_overdue(self) -> bool:
        """Whether `next_deadline` has passed."""
        return self.next_deadline is not None and self.next_deadline <= time.monotonic()

    def welcome(self) -> list[Channel]:
        """Let callers in, refuse the impatient and the wrong, and return the new channels; never waits."""
        now = time.monotonic()
        joined = []
        ready = [fd for fd, _ in self._epoll.poll(0)]
        for fd in ready:
            if fd in self._callers:
                joined.append(self._greet(self._leave(fd), now))
        if self._listener.fileno() in ready:
            joined += [self._greet(caller, now) for caller in self._accept(now)]
        self._expire(now)
        return [channel for channel in joined if channel is not None]

    def close(self) -> None:
        """Stop listening, and refuse whoever still waits."""
        for fd in list(self._callers):
            self._leave(fd).close()
        self._listener.close()
        self._epoll.close()

    def _accept(self, now: float) -> list[socket.socket]:
        callers: list[socket.socket] = []
        while len(callers) < MAX_CALLERS:
            try:
                callers.append(unshared_socket(lambda: self._listener.accept()[0]))
            except BlockingIOError:
                break
            except OSError as error:
                log.warning("no new connection for %.1f s: %s", PAUSE_S, error)
                self._epoll.unregister(self._listener)
                self._paused_until = now + PAUSE_S
                break
        return callers

    def _greet(self, caller: socket.socket, now: float) -> Channel | None:
        try:
            return Channel.accept(caller)
        except BlockingIOError:
            self._callers[caller.fileno()] = caller, now + PATIENCE_S
            self._epoll.register(caller, select.EPOLLIN)
        except (OSError, ProtocolError) as error:
            self._refuse(caller, str(error))
        return None

    def _leave(self, fd: int) -> socket.socket:
        caller, _ = self._callers.pop(fd)
        self._epoll.unregister(fd)
        return caller

    def _expire(self, now: float) -> None:
        for fd, (_, deadline) in list(self._callers.items()):
            if deadline <= now or len(self._callers) > MAX_CALLERS:
                self._refuse(self._leave(fd), "it said nothing")
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            self._epoll.register(self._listener, select.EPOLLIN)
        deadlines = [deadline for _, deadline in self._callers.values()]
        if self._paused_until is not None:
            deadlines.append(self._paused_until)
        self.next_deadline = min(deadlines, default=None)

    @staticmethod
    def _refuse(caller: socket.socket, reason: str) -> None:
        log.warning("refused a connection from process %d: %s", peer_of(caller)[0], reason)
        caller.close()
