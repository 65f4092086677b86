"""Waits for many channels at once, and optionally takes in new ones: many senders, one receiver.

Owns the channels given to it. Knows nothing of what messages mean.
"""

from __future__ import annotations

import enum
import functools
import logging
import os
import select
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

from localai_flask.pool.channel.endpoint import Channel, ChannelGone
from localai_flask.pool.channel.lobby import Lobby
from localai_flask.pool.channel.ring import ProtocolError

log = logging.getLogger(__name__)


_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()


def _close_inherited_hubs() -> None:
    # Both processes would change the same set of watched descriptors, and the parent would go deaf.
    for hub in list(_hubs):
        hub._epoll.close()


os.register_at_fork(after_in_child=_close_inherited_hubs)


class HubEventKind(enum.Enum):
    """MESSAGE has a payload; JOINED is a new peer; GONE comes once per channel, after all that the peer had sent; ROOM
    answers `watch_room`; FD answers `watch`."""

    MESSAGE = "message"
    JOINED = "joined"
    GONE = "gone"
    ROOM = "room"
    FD = "fd"


class HubEvent(NamedTuple):
    """What happened, and to whom."""

    kind: HubEventKind
    channel: Channel | None = None
    payload: bytes | None = None
    fd: int | None = None


class Hub:
    """One thread calls `recv`; everything else except `close` may be called from any thread.

    Make it after the fork: in a forked child the hub of its parent is closed.
    """

    def __init__(self, name: str | None = None):
        self._lobby = Lobby(name) if name else None
        self._epoll = select.epoll()
        _hubs.add(self)
        self._wake_out, self.wake_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        """`wake_fd`: any byte written here wakes `recv`, so it suits `signal.set_wakeup_fd`."""
        self._woken = False
        self._channels: dict[Channel, None] = {}
        self._wants_room: set[Channel] = set()
        self._reactions: dict[int, Callable[[], list[HubEvent]]] = {}
        self._changing = threading.RLock()  # a signal handler may call `wake` in the middle of a change
        self._react_to(self._wake_out, self._on_wake)
        if self._lobby:
            self._react_to(self._lobby.fileno(), self._on_arrival)

    def recv(self, timeout: float | None = None) -> list[HubEvent]:
        """Return what has happened, waiting up to `timeout` seconds (None: for ever); [] on time-out or `wake`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            ready = self._epoll.poll(self._patience(deadline))
            # Looked up before the first reaction, as that may close a descriptor whose number then names something new.
            reactions = [self._reactions.get(fd) for fd, _ in ready]
            events: list[HubEvent] = []
            for react in reactions:
                events += react() if react else []
            if self._lobby and self._lobby.is_overdue:
                events += self._on_arrival()
            if events or self._woken or (deadline is not None and time.monotonic() >= deadline):
                self._woken = False
                return events

    def wake(self) -> None:
        """Make the current or the next `recv` return."""
        with self._changing:
            if self._epoll.closed:
                return  # a wake-up may cross with the close
            try:
                os.write(self.wake_fd, b"\0")
            except BlockingIOError:
                pass  # full of wake-ups that have not been seen yet

    def add(self, channel: Channel) -> None:
        """Receive from a channel, and release it when it ends; raise ChannelGone if it is closed already."""
        with self._changing:
            if not channel.alive:
                raise ChannelGone(f"The channel to process {channel.peer_pid} is closed.")
            self._channels[channel] = None
            channel.on_backlog = self._watch_backlog
            self._react_to(channel.published_fd, functools.partial(self._on_published, channel))
            self._react_to(channel.socket.fileno(), functools.partial(self._on_hang_up, channel))
            self._react_to(channel.freed_fd, functools.partial(self._on_room, channel), events=0)

    def drop(self, channel: Channel) -> None:
        """Close and release a channel without a GONE; no error if it is gone already."""
        self._forget(channel)

    def watch_room(self, channel: Channel) -> None:
        """Report ROOM once, when the peer has freed something; nothing if the channel is gone."""
        with self._changing:
            if channel in self._channels:
                self._wants_room.add(channel)
                self._epoll.modify(channel.freed_fd, select.EPOLLIN | select.EPOLLONESHOT)

    def watch(self, fd: int) -> None:
        """Report FD at each `recv` as long as a foreign descriptor is readable; `unwatch` it before closing it."""
        with self._changing:
            self._react_to(fd, lambda: [HubEvent(HubEventKind.FD, fd=fd)])

    def unwatch(self, fd: int) -> None:
        """Report a foreign descriptor no more."""
        with self._changing:
            self._ignore(fd)

    def close(self) -> None:
        """Release all channels and stop listening; by the receiving thread, or once that has stopped."""
        if self._epoll.closed:
            return
        for channel in list(self._channels):
            self._forget(channel)
        with self._changing:
            self._epoll.close()
            os.close(self._wake_out)
            os.close(self.wake_fd)
            if self._lobby:
                self._lobby.close()

    def _patience(self, deadline: float | None) -> float | None:
        if self._lobby and (expiry := self._lobby.next_deadline) is not None:
            deadline = expiry if deadline is None else min(deadline, expiry)
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _react_to(self, fd: int, reaction: Callable[[], list[HubEvent]], events: int = select.EPOLLIN) -> None:
        self._reactions[fd] = reaction
        self._epoll.register(fd, events)

    def _ignore(self, fd: int) -> None:
        del self._reactions[fd]
        self._epoll.unregister(fd)

    def _forget(self, channel: Channel) -> bool:
        with self._changing:
            if channel not in self._channels:
                return False
            del self._channels[channel]
            self._wants_room.discard(channel)
            # The peer may keep the counters open, and then closing our descriptors alone would not end their events.
            for fd in (channel.published_fd, channel.freed_fd, channel.socket.fileno()):
                self._ignore(fd)
        channel.release()
        return True

    def _watch_backlog(self, channel: Channel) -> None:
        with self._changing:
            if channel in self._channels:
                self._epoll.modify(channel.freed_fd, select.EPOLLIN | select.EPOLLONESHOT)

    # --- what each descriptor means; every reaction looks again, since its event may be out of date

    def _on_wake(self) -> list[HubEvent]:
        os.read(self._wake_out, 4096)
        self._woken = True
        return []

    def _on_arrival(self) -> list[HubEvent]:
        assert self._lobby is not None
        events = []
        for channel in self._lobby.welcome():
            self.add(channel)
            events.append(HubEvent(HubEventKind.JOINED, channel))
        return events

    def _on_published(self, channel: Channel) -> list[HubEvent]:
        try:
            messages = channel.drain()
        except ProtocolError as error:
            log.warning("dropped the channel to process %d: %s", channel.peer_pid, error)
            return self._gone(channel)
        kind = HubEventKind.MESSAGE
        return [HubEvent(kind, channel, message) for message in messages]

    def _on_hang_up(self, channel: Channel) -> list[HubEvent]:
        if not channel.peer_left():
            return []
        return self._on_published(channel) + self._gone(channel)

    def _on_room(self, channel: Channel) -> list[HubEvent]:
        if not channel.flush():
            self._watch_backlog(channel)
            return []
        if channel not in self._wants_room:
            return []
        self._wants_room.discard(channel)
        return [HubEvent(HubEventKind.ROOM, channel)]

    def _gone(self, channel: Channel) -> list[HubEvent]:
        return [HubEvent(HubEventKind.GONE, channel)] if self._forget(channel) else []
