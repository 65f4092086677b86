"""Messages arrive whole and in order; a full ring is back-pressure with a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import threading
import time
import zlib

import pytest

from localai_flask.pool.channel import Channel, ChannelFull, ChannelGone, Hub
from localai_flask.pool.channel.ring import CHUNK_BYTES, MAX_MESSAGE_BYTES, WHOLE
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
    stop,
    wait_until,
)


def test_messages_of_several_threads_arrive_whole_and_in_each_threads_order(hub: Hub, name: str) -> None:
    sizes = [1, 100, CHUNK_BYTES, CHUNK_BYTES + 1, 3000, 5_000_000, 0, 700_000]

    def produce() -> None:
        channel = Channel.connect(name)

        def send_all(thread: int) -> None:
            for index in range(3 * len(sizes)):
                body = os.urandom(sizes[(index + thread) % len(sizes)])
                channel.send(struct.pack("<III", thread, index, zlib.crc32(body)) + body, PATIENCE_S)

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
        channel.send(memoryview(message), PATIENCE_S)
        assert payloads(receive(hub, MESSAGE)) == [message]


def test_a_small_message_overtakes_a_long_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with forked(lambda: echo_forever(name)) as pid, contextlib.closing(Hub()) as hub:
        caller = connect_soon(name)
        hub.add(caller)
        stop(pid)
        bodies = bytes(6_000_000), b"small"
        threads = [threading.Thread(target=caller.send, args=(body, PATIENCE_S)) for body in bodies]
        for thread, lock in zip(threads, (caller._writing, caller._turnstile), strict=True):
            thread.start()
            wait_until(lambda lock=lock: lock.locked() and caller._writer._room < CHUNK_BYTES)
        marks: list[int] = []
        write = caller._writer.write
        monkeypatch.setattr(caller._writer, "write", lambda mark, *frame: (marks.append(mark), write(mark, *frame)))
        os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join()
        assert marks.index(WHOLE) <= 1, "only the chunk that was waiting for room already may go first"
        assert [len(message) for message in payloads(receive(hub, MESSAGE, MESSAGE))] == [5, 6_000_000]


def test_too_long_a_message_is_refused_before_anything_is_sent(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    for send in (caller.send, caller.try_send):
        with pytest.raises(ValueError, match="too long"):
            send(bytes(MAX_MESSAGE_BYTES + 1))
    caller.send(memoryview(struct.pack("<2Q", 1, 2)).cast("Q"))
    assert payloads(receive(hub, MESSAGE)) == [struct.pack("<2Q", 1, 2)]
    caller.close()


def test_try_send_is_false_when_full_and_room_is_reported_once(hub: Hub, name: str) -> None:
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
        assert caller.try_send(bytes(5_000_000))
        deadline = time.monotonic() + PATIENCE_S
        while not payloads(hub.recv(0.01)):
            assert owner.recv(0.01) == [], "ROOM was not asked for again"
            assert time.monotonic() < deadline


def test_try_send_does_not_wait_for_a_thread_that_is_sending(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    fill(caller)
    thread = threading.Thread(target=caller.send, args=(b"x" * 20_000, PATIENCE_S))
    thread.start()
    wait_until(caller._writing.locked)
    assert not caller.try_send(b"")
    receive(hub, MESSAGE)
    thread.join()
    caller.close()


def test_try_send_of_a_message_longer_than_the_ring_goes_on_by_itself_and_keeps_its_place(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    long = os.urandom(10_000_000)
    with contextlib.closing(Hub()) as owner:
        owner.add(caller)
        assert caller.try_send(b"first")
        assert caller.try_send(long)
        assert not caller.try_send(b"later"), "it would overtake"
        owner.watch_room(caller)
        got: list[bytes] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < 3 and time.monotonic() < deadline:
            got += payloads(hub.recv(0.01))
            if any(event.kind is ROOM for event in owner.recv(0.01)):
                assert caller.try_send(b"later")
        assert got == [b"first", long, b"later"]


def test_a_stopped_peer_is_full_at_the_deadline_and_resumes_with_whole_messages(name: str) -> None:
    with forked(lambda: echo_forever(name)) as pid, contextlib.closing(Hub()) as hub:
        channel = connect_soon(name)
        hub.add(channel)
        stop(pid)
        channel.send(b"a" * 1_500_000)
        started = time.monotonic()
        with pytest.raises(ChannelFull):
            channel.send(b"b" * 1_500_000, 0.3)
        assert 0.29 < time.monotonic() - started < 0.29 + SOON_S
        threading.Timer(0.05, os.kill, (pid, signal.SIGCONT)).start()
        channel.send(b"c" * 1_500_000, PATIENCE_S)
        channel.send(b"d", PATIENCE_S)
        got: list[bytes] = []
        while len(got) < 3:
            got += payloads(hub.recv(PATIENCE_S))
        assert got == [b"a" * 1_500_000, b"c" * 1_500_000, b"d"]


def test_the_peer_forgets_a_message_that_timed_out_half_way(hub: Hub, name: str) -> None:
    caller, callee = pair(hub, name)
    with contextlib.closing(Hub()) as owner:
        owner.add(caller)
        with pytest.raises(ChannelFull):
            caller.send(bytes(5_000_000), 0.05)
        deadline = time.monotonic() + SOON_S
        while not callee._assembler._unfinished or caller._backlog:
            assert payloads(hub.recv(0.01)) == [] and owner.recv(0.01) == []
            assert time.monotonic() < deadline
        hub.recv(0.01)
        assert not callee._assembler._unfinished


def test_threads_that_wait_their_turn_have_a_deadline_too(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    fill(caller)
    errors: list[BaseException] = []

    def send(timeout: float) -> None:
        try:
            caller.send(b"x" * 20_000, timeout)
        except (ChannelFull, ChannelGone) as error:
            errors.append(error)

    patient = threading.Thread(target=send, args=(PATIENCE_S,))
    patient.start()
    started = time.monotonic()
    send(0.05)
    assert time.monotonic() - started < SOON_S
    caller.close()
    patient.join(SOON_S)
    assert not patient.is_alive(), "close must free a sender that waits for room"
    assert [type(error) for error in errors] == [ChannelFull, ChannelGone]
