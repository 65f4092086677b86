"""One end of a channel: sends whole messages from any thread, and receives them in one.

Owns the rings, their counters and the socket that is the life line. Knows nothing of what a message means, nor of the
other channels; a `Hub` waits for many of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from localai_flask.pool.channel import handshake, ring
from localai_flask.pool.channel.handshake import ChannelFull, ChannelGone, Link
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

    The messages that one thread sends arrive in their order; long ones of several threads take turns, chunk by chunk.
    """

    def __init__(self, link: Link, *, is_caller: bool):
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
        self._numbers = itertools.count(1)
        self._backlog: deque[Frame] = deque()
        """Frames that must go out before any other: the rest of a message that was begun, and aborts."""
        self._writing = threading.Lock()
        self._turnstile = threading.Lock()
        """Held by the thread that is the next to write; a long message passes here before each chunk."""
        self._reading = threading.Lock()
        """Never held for long, unlike `_writing`; the descriptors are closed under both."""

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

    def send(self, payload: bytes | memoryview, timeout: float = 5.0) -> None:
        """Send one message, from any thread, waiting for room for at most `timeout` seconds.

        Raises ChannelFull if there was not enough room in time (the peer then sees nothing of the message),
        ChannelGone if the peer is dead, ValueError if the message is longer than MAX_MESSAGE_BYTES.
        """
        deadline = time.monotonic() + timeout
        payload = _checked(payload)
        if len(payload) <= ring.CHUNK_BYTES:
            if not self._writing.acquire(blocking=False):
                self._take_turn(deadline)
            self._put(ring.WHOLE, 0, payload, deadline)
        else:
            self._put_all(ring.split(payload, next(self._numbers)), deadline)

    def try_send(self, payload: bytes | memoryview) -> bool:
        """Send one message if that needs no waiting; False if there is no room or another thread is sending.

        Of a long message it is enough that the first chunk has room: the rest follows, ahead of all other messages,
        when the hub that has the channel calls `flush`; so the payload must not change after True. Raises as `send`
        does, except for ChannelFull.
        """
        payload = _checked(payload)
        if not self._writing.acquire(blocking=False):
            return False
        try:
            self._require_peer()
            return self._flush_backlog() and self._start(payload)
        except ProtocolError as error:
            raise self._expelled(error) from None
        finally:
            self._writing.release()

    def flush(self) -> bool:
        """Go on with what `try_send` has begun, without waiting; True if nothing is left, or the peer is gone."""
        if not self._writing.acquire(blocking=False):
            return False
        try:
            return not self.alive or self._flush_backlog()
        except ProtocolError as error:
            self._expelled(error)
            return True
        finally:
            self._writing.release()

    def _take_turn(self, deadline: float) -> None:
        if not self._turnstile.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._too_slow()
        try:
            if not self._writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise self._too_slow()
        finally:
            self._turnstile.release()

    def _put(self, mark: int, number: int, chunk: bytes | memoryview, deadline: float) -> None:
        """Write one chunk, and before it what must go first; holds `_writing` already, and gives it up."""
        try:
            self._require_peer()
            while self._backlog:
                self._await_room(len(self._backlog[0][2]), deadline)
                self._writer.write(*self._backlog[0])
                self._backlog.popleft()
            self._await_room(len(chunk), deadline)
            self._writer.write(mark, number, chunk)
        except ProtocolError as error:
            raise self._expelled(error) from None
        finally:
            self._writing.release()

    def _put_all(self, frames: list[Frame], deadline: float) -> None:
        is_complete = False
        try:
            for frame in frames:
                self._take_turn(deadline)
                self._put(*frame, deadline)
            is_complete = True
        finally:
            if not is_complete:
                self._queue([(ring.ABORT, frames[0][1], b"")])

    def _start(self, payload: bytes | memoryview) -> bool:
        if not self._writer.has_room(min(len(payload), ring.CHUNK_BYTES)):
            return False
        if len(payload) <= ring.CHUNK_BYTES:
            self._writer.write(ring.WHOLE, 0, payload)
        else:
            self._queue(ring.split(payload, next(self._numbers)))
            self._flush_backlog()
        return True

    def _queue(self, frames: list[Frame]) -> None:
        self._backlog.extend(frames)
        if self.on_backlog:
            self.on_backlog(self)

    def _flush_backlog(self) -> bool:
        while self._backlog and self._writer.has_room(len(self._backlog[0][2])):
            self._writer.write(*self._backlog[0])
            self._backlog.popleft()
        return not self._backlog

    def _await_room(self, length: int, deadline: float) -> None:
        if self._writer.has_room(length):
            return
        poll = select.poll()
        poll.register(self.freed_fd, select.POLLIN)
        poll.register(self.socket, select.POLLIN)
        while not self._writer.has_room(length):
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._too_slow()
            ready = dict(poll.poll(left * 1000))
            if self.socket.fileno() in ready:
                self._gone = True
                self._require_peer()

    def _require_peer(self) -> None:
        if not self.alive:
            raise ChannelGone(f"The channel to process {self.peer_pid} is closed; it has ended or has left.")

    def _too_slow(self) -> ChannelFull:
        return ChannelFull(f"Process {self.peer_pid} has not made room in time; it is busy or stopped.")

    def _expelled(self, error: ProtocolError) -> ChannelGone:
        self.hang_up()
        return ChannelGone(f"The channel to process {self.peer_pid} was closed because it broke the rules: {error}.")

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
        for mark, number, chunk in frames:
            message = chunk if mark == ring.WHOLE else self._assembler.add(mark, number, chunk)
            if message is not None:
                messages.append(message)
        return messages

    def peer_left(self) -> bool:
        """Tell whether the life line has ended, or carries anything, which is against the rules."""
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
        """End the channel, from any thread; senders that wait for room get ChannelGone.

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
