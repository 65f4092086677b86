"""One end of a channel: sends whole messages from any thread, without waiting, and receives them in one.

Owns the rings, their counters and the socket that is the life line. Knows nothing of what a message means, nor of the
other channels; a `Hub` waits for many of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from localai_flask.pool.channel import handshake, ring
from localai_flask.pool.channel.handshake import ChannelEnds, ChannelFull, ChannelGone
from localai_flask.pool.channel.ring import Frame, ProtocolError

__all__ = ["Channel", "ChannelFull", "ChannelGone"]

RING_BYTES = 2 << 20


def _checked(payload: bytes | memoryview) -> bytes | memoryview:
    if isinstance(payload, memoryview):
        payload = payload.cast("B")
    if len(payload) > ring.MAX_MESSAGE_BYTES:
        raise ValueError(f"A message of {len(payload)} bytes is too long; the limit is {ring.MAX_MESSAGE_BYTES}.")
    return payload


class Channel:
    """A two-way connection for messages; make one with `connect` or get one from a hub that listens.

    Messages arrive in the order in which they were sent.
    """

    def __init__(self, link: ChannelEnds, *, is_caller: bool):
        self.data: Any = None
        """Whatever the owner keeps with the channel."""
        self.peer_pid = handshake.peer_of(link.socket)[0]
        self.socket = link.socket
        self.on_backlog: Callable[[Channel], None] | None = None
        """Set by the hub that has the channel: asks it to call `flush` when the peer has made room."""
        self._gone = False
        self._memory = link.memory
        self._counters = link.counters
        view = memoryview(link.memory)
        half = len(view) // 2
        ends = [(view[:half], *link.counters[:2]), (view[half:], *link.counters[2:])]
        outward, inward = ends if is_caller else reversed(ends)
        self._views = [view, outward[0], inward[0]]
        self._writer = ring.RingWriter(*outward)
        self._reader = ring.RingReader(*inward)
        self._assembler = ring.Assembler()
        self._backlog: deque[Frame] = deque()
        """The rest of a message that was begun, which goes out before any other."""
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        """The descriptors are closed under both locks."""

    @classmethod
    def connect(cls, name: str, size: int = RING_BYTES, timeout: float = 5.0) -> Channel:
        """Connect to the hub that listens as `name`, with `size` bytes of ring each way.

        Raises ChannelGone if nobody of our user listens, ChannelFull if the listener takes no call within `timeout`.
        """
        return cls(handshake.call(name, size, timeout), is_caller=True)

    @classmethod
    def accept(cls, connected: socket.socket) -> Channel:
        """Make the channel that a caller asks for.

        Raises BlockingIOError as long as its hello has not come; ProtocolError or OSError if it must be refused.
        """
        return cls(handshake.answer(connected), is_caller=False)

    @property
    def alive(self) -> bool:
        """Whether neither side is known to have ended; in a forked child a channel of its parent is dead."""
        return not self._gone and self._is_open

    @property
    def published_fd(self) -> int:
        """Readable when `drain` has something to return."""
        return self._reader.published

    @property
    def freed_fd(self) -> int:
        """Readable when the peer has made room."""
        return self._writer.freed

    @property
    def _is_open(self) -> bool:
        return self.socket.fileno() >= 0

    # --- sending

    def send(self, payload: bytes | memoryview) -> bool:
        """Send one message if that needs no waiting; return False if there is no room or another thread is sending.

        Of a long message it is enough that the first chunk has room: the rest follows, ahead of all other messages,
        when the hub that has the channel calls `flush`; so the payload must not change after True.

        Raises ChannelGone if the peer is dead, ValueError if the message is longer than MAX_MESSAGE_BYTES.
        """
        payload = _checked(payload)
        if not self._writing.acquire(blocking=False):
            return False
        try:
            self._require_peer()
            return self._flush_backlog() and self._start(payload)
        except ProtocolError as error:
            self.hang_up()
            said = f"The channel to process {self.peer_pid} was closed because it broke the rules: {error}."
            raise ChannelGone(said) from None
        finally:
            self._writing.release()

    def flush(self) -> bool:
        """Continue what `send` has begun, without waiting; return whether nothing is left, or the peer is gone."""
        if not self._writing.acquire(blocking=False):
            return False
        try:
            return not self.alive or self._flush_backlog()
        except ProtocolError:
            self.hang_up()
            return True
        finally:
            self._writing.release()

    def _start(self, payload: bytes | memoryview) -> bool:
        if not self._writer.has_room(min(len(payload), ring.CHUNK_BYTES)):
            return False
        if len(payload) <= ring.CHUNK_BYTES:
            self._writer.write(ring.WHOLE, payload)
            return True
        self._backlog.extend(ring.split(payload))
        if self.on_backlog:
            self.on_backlog(self)
        self._flush_backlog()
        return True

    def _flush_backlog(self) -> bool:
        while self._backlog and self._writer.has_room(len(self._backlog[0][1])):
            self._writer.write(*self._backlog[0])
            self._backlog.popleft()
        return not self._backlog

    def _require_peer(self) -> None:
        if not self.alive:
            raise ChannelGone(f"The channel to process {self.peer_pid} is closed; it has ended or has left.")

    # --- receiving

    def drain(self) -> list[bytes]:
        """Return the messages that have come whole since the last call; for one reading thread.

        Works also after the peer's death, for what it had published. Raises ProtocolError if the peer broke the rules.
        """
        with self._reading:
            if self.socket.fileno() < 0:
                return []
            frames = self._reader.take()
        messages = []
        for frame in frames:
            message = self._assembler.add(*frame)
            if message is not None:
                messages.append(message)
        return messages

    def peer_left(self) -> bool:
        """Return whether the life line has ended, or carries anything, which is against the rules."""
        with self._reading:
            if not self._is_open:
                return True
            try:
                self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                pass
        self._gone = True
        return True

    # --- ending

    def close(self) -> None:
        """End the channel, from any thread.

        If a hub has the channel, its next `recv` reports GONE and releases it.
        """
        self.hang_up()
        if self.on_backlog is None:
            self.release()

    def hang_up(self) -> None:
        """End the connection for both sides, and keep the descriptors open."""
        if not self._is_open:
            return
        with self._reading:
            self._gone = True
            with contextlib.suppress(OSError):  # the peer may have left first
                self.socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Hang up and give descriptors and memory back; for the hub that has the channel, or else its owner."""
        self.hang_up()
        if not self._is_open:
            return
        with self._writing, self._reading:
            if not self._is_open:
                return
            self.socket.close()
            for fd in self._counters:
                os.close(fd)
            for view in reversed(self._views):
                view.release()
            self._memory.close()
