"""What the tests of the channel share: processes that end with the test, and events awaited with a deadline."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator

from localai_flask.pool.channel import Channel, ChannelGone, Hub, HubEvent, HubEventKind

MESSAGE, JOINED, GONE, ROOM, FD = HubEventKind
SOON_S = 1.0
PATIENCE_S = 10.0


def open_fds() -> set[int]:
    """Return the descriptors of this process, without the one that lists them."""
    gc.collect()  # otherwise what earlier tests have left is closed between two looks
    return {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}


@contextlib.contextmanager
def forked(work: Callable[[], None]) -> Iterator[int]:
    """Run `work` in a child; kill and reap it at the end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


def receive(hub: Hub, *kinds: HubEventKind, within: float = PATIENCE_S) -> list[HubEvent]:
    """Collect events until all of these kinds have come, in any order; fail if they do not come in time."""
    deadline, missing, got = time.monotonic() + within, list(kinds), []
    while missing:
        left = deadline - time.monotonic()
        assert left > 0, f"still waiting for {missing}; got {[event.kind for event in got]}"
        for event in hub.recv(left):
            got.append(event)
            if event.kind in missing:
                missing.remove(event.kind)
    return got


def payloads(events: list[HubEvent]) -> list[bytes]:
    return [event.payload for event in events if event.payload is not None]


def pair(hub: Hub, name: str) -> tuple[Channel, Channel]:
    """Connect to a hub of this process; return the caller's end and the hub's."""
    caller = Channel.connect(name)
    [joined] = receive(hub, JOINED)
    assert joined.channel is not None
    return caller, joined.channel


def fill(channel: Channel) -> int:
    """Send until there is no room; return how many messages fitted."""
    sent = 0
    while channel.send(b"x" * 10_000):
        sent += 1
    return sent


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def send_whole(channel: Channel, payload: bytes | memoryview) -> None:
    """Send a message to its last byte without a hub; raise ChannelGone if the peer dies, fail after a while."""
    deadline = time.monotonic() + PATIENCE_S
    for step in (lambda: channel.send(payload), channel.flush):
        while not step():
            if channel.peer_left():
                raise ChannelGone
            assert time.monotonic() < deadline
            time.sleep(0.0005)


def echo_forever(name: str) -> None:
    with contextlib.closing(Hub(name)) as hub:
        while True:
            for event in hub.recv():
                if event.kind is MESSAGE:
                    send_whole(event.channel, event.payload)


def connect_soon(name: str) -> Channel:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Channel.connect(name)
        except ChannelGone:
            assert time.monotonic() < deadline
            time.sleep(0.002)
