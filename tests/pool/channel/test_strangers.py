"""Whoever greets wrong, says nothing or breaks the rules is refused, and disturbs nobody else."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import resource
import socket
import time
from collections.abc import Callable

import pytest

from localai_flask.pool.channel import Channel, ChannelFull, ChannelGone, Hub, handshake, lobby
from localai_flask.pool.channel.ring import CHUNK_BYTES
from tests.pool.channel.helpers import (
    GONE,
    JOINED,
    MESSAGE,
    PATIENCE_S,
    SOON_S,
    fill,
    open_fds,
    pair,
    payloads,
    receive,
)


def sealed_memory(size: int, seals: int = handshake.SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def counters(flags: int = os.EFD_NONBLOCK, number: int = 4) -> list[int]:
    return [os.eventfd(0, os.EFD_CLOEXEC | flags) for _ in range(number)]


RING = 2 << 20
GOOD_HELLO = handshake.HELLO.pack(handshake.MAGIC, handshake.WIRE_VERSION, RING)
BAD_HELLOS: dict[str, tuple[bytes, Callable[[], list[int]]]] = {
    "nothing but an end": (b"", list),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", list),
    "no descriptors": (GOOD_HELLO, list),
    "too few descriptors": (GOOD_HELLO, lambda: [sealed_memory(2 * RING), *counters(number=3)]),
    "wrong magic": (b"SL01" + GOOD_HELLO[4:], lambda: [sealed_memory(2 * RING), *counters()]),
    "another version": (
        handshake.HELLO.pack(handshake.MAGIC, handshake.WIRE_VERSION + 1, RING),
        lambda: [sealed_memory(2 * RING), *counters()],
    ),
    "an odd size": (
        handshake.HELLO.pack(handshake.MAGIC, handshake.WIRE_VERSION, RING + 1),
        lambda: [sealed_memory(2 * RING + 2), *counters()],
    ),
    "memory that can shrink": (GOOD_HELLO, lambda: [sealed_memory(2 * RING, fcntl.F_SEAL_GROW), *counters()]),
    "memory that is too small": (GOOD_HELLO, lambda: [sealed_memory(mmap.PAGESIZE), *counters()]),
    "no memory at all": (GOOD_HELLO, lambda: [*counters(number=5)]),
    "blocking counters": (GOOD_HELLO, lambda: [sealed_memory(2 * RING), *counters(flags=0)]),
    "counters that are none": (
        GOOD_HELLO,
        lambda: [sealed_memory(2 * RING), *(os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK) for _ in range(4))],
    ),
}


def dial(name: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect("\0" + name)
    connection.settimeout(PATIENCE_S)
    return connection


@pytest.mark.parametrize("hello", BAD_HELLOS)
def test_a_bad_hello_is_refused_and_disturbs_nobody(hub: Hub, name: str, hello: str) -> None:
    text, make_fds = BAD_HELLOS[hello]
    caller, _ = pair(hub, name)
    fds = make_fds()
    with dial(name) as stranger:
        if text:
            socket.send_fds(stranger, [text], fds)
        else:
            stranger.shutdown(socket.SHUT_RDWR)
        for fd in fds:
            os.close(fd)
        caller.send(b"undisturbed")
        assert [event.kind for event in receive(hub, MESSAGE)] == [MESSAGE]
        assert hub.recv(0.02) == []
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b"", "the stranger must be told by an end-of-file"
    caller.close()


def test_whoever_speaks_after_the_hello_is_dropped(hub: Hub, name: str) -> None:
    caller, callee = pair(hub, name)
    caller.socket.send(b"more")
    assert receive(hub, GONE)[-1].channel is callee
    caller.close()


def test_whoever_breaks_the_rules_of_the_ring_is_dropped_and_nobody_else(hub: Hub, name: str) -> None:
    good, _ = pair(hub, name)
    bad, callee = pair(hub, name)
    os.eventfd_write(bad._writer._published, 7)
    assert [(event.kind, event.channel) for event in receive(hub, GONE)] == [(GONE, callee)]
    bad.close()
    bad, callee = pair(hub, name)
    fill(callee)
    os.eventfd_write(bad._reader._freed, 100 << 20)
    with pytest.raises(ChannelGone, match="broke the rules"):
        callee.send(b"x" * 20_000)
    assert [(event.kind, event.channel) for event in receive(hub, GONE)] == [(GONE, callee)]
    bad.close()
    good.send(b"undisturbed")
    assert payloads(receive(hub, MESSAGE)) == [b"undisturbed"]
    good.close()


def test_silent_callers_delay_nobody_and_are_bounded_in_number_and_age(
    hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "PATIENCE_S", 0.3)
    before = open_fds()
    silent = []
    for _ in range(lobby.MAX_CALLERS + 30):
        silent.append(dial(name))
        assert hub.recv(0) == []
    assert len(open_fds() - before) <= len(silent) + lobby.MAX_CALLERS
    caller, _ = pair(hub, name)
    assert hub.recv(0.5) == [], "their end is no event, and must not need one"
    assert all(connection.recv(1) == b"" for connection in silent)
    for connection in silent:
        connection.close()
    caller.close()


def test_a_hello_that_comes_late_is_still_heard(hub: Hub, name: str) -> None:
    fds = [sealed_memory(2 * RING), *counters()]
    with dial(name) as caller:
        assert hub.recv(0.02) == []
        socket.send_fds(caller, [GOOD_HELLO], fds)
        assert [event.kind for event in receive(hub, JOINED)] == [JOINED]
    for fd in fds:
        os.close(fd)


def test_out_of_descriptors_is_a_pause_and_not_a_spin(
    hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lobby, "PAUSE_S", 0.2)
    caller = Channel.connect(name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        assert hub.recv(0.15) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [record.message[:17] for record in caplog.records] == ["no new connection"]
    assert [event.kind for event in receive(hub, JOINED)] == [JOINED]
    caller.close()


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, RING + 8, 128 << 20])
def test_a_ring_of_an_impossible_size_is_refused(hub: Hub, name: str, size: int) -> None:
    with pytest.raises(ValueError, match="ring needs"):
        Channel.connect(name, size=size)


def test_a_listener_that_takes_no_calls_is_full_at_the_deadline(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, contextlib.ExitStack() as callers:
        listener.bind("\0" + name)
        listener.listen(0)
        callers.enter_context(dial(name))
        started = time.monotonic()
        with pytest.raises(ChannelFull, match=name):
            Channel.connect(name, timeout=0.1)
        assert 0.09 < time.monotonic() - started < SOON_S


def test_a_name_in_use_is_an_error_and_leaks_nothing(hub: Hub, name: str) -> None:
    with pytest.raises(OSError, match="in use"):
        Hub(name)
