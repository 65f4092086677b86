"""Messages arrive whole and in order; a full ring is back-pressure that nobody waits for."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import threading
import time
import zlib

import pytest

from localai_flask.pool.channel import Channel, Hub
from localai_flask.pool.channel.ring import CHUNK_BYTES, MAX_MESSAGE_BYTES
from tests.pool.channel.helpers import (
    GONE,
    JOINED,
    MESSAGE,
    PATIENCE_S,
    ROOM,
    SOON_S,
    connect_soon,
    echo_forever,
    fill,
    forked,
    pair,
    payloads,
    receive,
    send_whole,
    stop,
)


def test_messages_of_several_threads_arrive_whole_and_in_each_threads_order(hub: Hub, name: str) -> None:
    sizes = [1, 100, CHUNK_BYTES, CHUNK_BYTES + 1, 3000, 5_000_000, 0, 700_000]

    def produce() -> None:
        channel = Channel.connect(name)

        def send_all(thread: int) -> None:
            for index in range(3 * len(sizes)):
                body = os.urandom(sizes[(index + thread) % len(sizes)])
                send_whole(channel, struct.pack("<III", thread, index, zlib.crc32(body)) + body)

        threads = [threading.Thread(target=send_all, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with forked(produce):
        events = receive(hub, GONE)
    indices: dict[int, list[int]] = {number: [] for number in range(4)}
    for message in payloads(events):
        thread, index, crc = struct.unpack_from("<III", message)
        assert zlib.crc32(message[12:]) == crc
        indices[thread].append(index)
    assert list(indices.values()) == [list(range(3 * len(sizes)))] * 4
    assert [events[0].kind, events[-1].kind] == [JOINED, GONE]


def test_twenty_megabytes_go_through_a_two_megabyte_ring_and_back(name: str) -> None:
    message = os.urandom(20_000_000)
    with forked(lambda: echo_forever(name)), contextlib.closing(Hub()) as hub:
        channel = connect_soon(name)
        hub.add(channel)
        assert channel.send(memoryview(message))
        assert payloads(receive(hub, MESSAGE)) == [message]


def test_too_long_a_message_is_refused_before_anything_is_sent(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    with pytest.raises(ValueError, match="too long"):
        caller.send(bytes(MAX_MESSAGE_BYTES + 1))
    caller.send(memoryview(struct.pack("<2Q", 1, 2)).cast("Q"))
    assert payloads(receive(hub, MESSAGE)) == [struct.pack("<2Q", 1, 2)]
    caller.close()


def test_send_is_false_when_full_and_room_is_reported_once(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    with contextlib.closing(Hub()) as owner:
        owner.add(caller)
        sent = fill(caller)
        assert 180 < sent < 220
        owner.watch_room(caller)
        assert owner.recv(0.02) == []
        assert len(payloads(receive(hub, MESSAGE))) == sent
        [event] = owner.recv(SOON_S)
        assert (event.kind, event.channel) == (ROOM, caller)
        assert caller.send(bytes(5_000_000))
        deadline = time.monotonic() + PATIENCE_S
        while not payloads(hub.recv(0.01)):
            assert owner.recv(0.01) == [], "ROOM was not asked for again"
            assert time.monotonic() < deadline


def test_a_sender_does_not_wait_for_another_that_is_sending(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    with caller._writing:
        assert not caller.send(b"")
    assert caller.send(b"")
    caller.close()


def test_a_message_longer_than_the_ring_goes_on_by_itself_and_keeps_its_place(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    long = os.urandom(10_000_000)
    with contextlib.closing(Hub()) as owner:
        owner.add(caller)
        assert caller.send(b"first")
        assert caller.send(long)
        assert not caller.send(b"later"), "it would overtake"
        owner.watch_room(caller)
        got: list[bytes] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < 3 and time.monotonic() < deadline:
            got += payloads(hub.recv(0.01))
            if any(event.kind is ROOM for event in owner.recv(0.01)):
                assert caller.send(b"later")
        assert got == [b"first", long, b"later"]


def test_a_stopped_peer_is_full_and_resumes_with_whole_messages(name: str) -> None:
    with forked(lambda: echo_forever(name)) as pid, contextlib.closing(Hub()) as hub:
        channel = connect_soon(name)
        hub.add(channel)
        stop(pid)
        assert channel.send(b"a" * 1_500_000)
        assert channel.send(b"b" * 1_500_000), "its first chunk has room"
        assert not channel.send(b"c")
        assert hub.recv(0.05) == []
        os.kill(pid, signal.SIGCONT)
        got: list[bytes] = []
        while len(got) < 2:
            got += payloads(hub.recv(PATIENCE_S))
        assert got == [b"a" * 1_500_000, b"b" * 1_500_000]
        assert channel.send(b"c")
        assert payloads(receive(hub, MESSAGE)) == [b"c"]
