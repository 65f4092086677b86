"""Whoever dies, closes or forks: the other side is told, once and soon, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

import pytest

from localai_flask.pool.channel import Channel, ChannelGone, Hub
from tests.pool.channel.helpers import (
    GONE,
    JOINED,
    MESSAGE,
    PATIENCE_S,
    SOON_S,
    connect_soon,
    echo_forever,
    forked,
    open_fds,
    pair,
    payloads,
    receive,
    stop,
)


def test_a_killed_sender_is_gone_once_and_after_all_it_had_sent(hub: Hub, name: str) -> None:
    def send_and_die() -> None:
        channel = Channel.connect(name)
        for index in range(50):
            channel.send(b"%d" % index)
        os.kill(os.getpid(), signal.SIGKILL)

    with forked(send_and_die):
        events = receive(hub, GONE)
    assert payloads(events) == [b"%d" % index for index in range(50)]
    assert [event.kind for event in events].count(GONE) == 1
    assert hub.recv(0.02) == []


def test_a_killed_receiver_is_told_by_its_hub_and_to_its_senders(name: str) -> None:
    with forked(lambda: echo_forever(name)) as pid, contextlib.closing(Hub()) as hub:
        channel = connect_soon(name)
        stop(pid)
        hub.add(channel)
        while channel.send(bytes(1_000_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        receive(hub, GONE, within=SOON_S)
        assert not channel.alive
        with pytest.raises(ChannelGone):
            channel.send(b"x")
        assert channel.flush(), "what nobody will read is not left"
    with pytest.raises(ChannelGone, match=name):
        Channel.connect(name)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_forked_child_does_not_hide_the_death_of_its_parent(hub: Hub, name: str, when: str) -> None:
    grandchild_lives, lives = os.pipe()

    def fork_and_die() -> None:
        channel = Channel.connect(name)
        channel.send(b"hello")
        if os.fork() == 0:
            with pytest.raises(ChannelGone):
                channel.send(b"from the wrong process")
            assert channel.drain() == []
            channel.close()
            os.write(lives, b"\0")
            time.sleep(PATIENCE_S)
            os._exit(0)
        if when == "after":
            channel.send(b"still here")
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    with forked(fork_and_die):
        assert os.read(grandchild_lives, 1)
        events = receive(hub, GONE, within=SOON_S)
    assert payloads(events) == [b"hello", b"still here"][: 1 + (when == "after")]
    os.close(grandchild_lives)
    os.close(lives)


def test_a_forked_child_keeps_neither_the_name_nor_the_hub_of_its_parent(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)

    def use_what_is_not_ours() -> None:
        hub.wake()
        hub.close()
        time.sleep(PATIENCE_S)

    with forked(use_what_is_not_ours):
        time.sleep(0.05)
        caller.send(b"still heard")
        assert payloads(receive(hub, MESSAGE)) == [b"still heard"]
        hub.close()
        with contextlib.closing(Hub(name)):
            pass
    caller.close()


def test_close_reports_gone_on_both_sides_and_drop_only_on_the_other(hub: Hub, name: str) -> None:
    with contextlib.closing(Hub()) as owner:
        for end in ("close", "drop"):
            caller, callee = pair(hub, name)
            owner.add(caller)
            caller.close() if end == "close" else owner.drop(caller)
            assert [event.channel for event in receive(hub, GONE)] == [callee]
            assert [event.kind for event in owner.recv(0.02)] == ([GONE] if end == "close" else [])
            assert not caller.alive
            owner.drop(caller)
            with pytest.raises(ChannelGone):
                owner.add(caller)


def test_what_came_before_the_end_is_reported_before_it(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    caller.socket.shutdown(socket.SHUT_RDWR)
    caller.send(b"published before the hub looks, but noticed second")
    assert [event.kind for event in hub.recv(SOON_S)] == [MESSAGE, GONE]
    caller.close()


def test_a_dropped_peer_that_goes_on_writing_does_not_keep_the_hub_busy(hub: Hub, name: str) -> None:
    caller, callee = pair(hub, name)
    hub.drop(callee)
    caller.send(b"into the void")
    assert hub._epoll.poll(0.02) == [], "the kernel still watches a descriptor that the hub has closed"
    caller.close()


def test_descriptors_are_not_inherited_by_programs_and_all_come_back(hub: Hub, name: str) -> None:
    before = open_fds()
    callers = [pair(hub, name)[0] for _ in range(5)]
    ours = open_fds() - before
    assert len(ours) == 2 * 5 * 6
    assert not any(map(os.get_inheritable, ours))
    for caller in callers:
        caller.close()
    receive(hub, *[GONE] * 5)
    assert open_fds() == before


def test_peers_that_come_and_go_at_once_are_each_told_once(hub: Hub, name: str) -> None:
    """Descriptor numbers are reused within one batch of events; a stale event must not hit the newcomer."""
    known: set[Channel] = set()
    callers: list[Channel] = []
    joined = gone = 0
    for round_number in range(40):
        for caller in callers:
            caller.close()
        callers = [Channel.connect(name) for _ in range(3)]
        for caller in callers:
            caller.send(b"%d" % round_number)
        for event in hub.recv(SOON_S):
            joined += event.kind is JOINED
            gone += event.kind is GONE
            assert event.channel is not None
            if event.kind is JOINED:
                assert event.channel not in known
                known.add(event.channel)
            assert event.channel in known
            if event.kind is GONE:
                known.remove(event.channel)
    for caller in callers:
        caller.close()
    while gone < 120:
        events = hub.recv(SOON_S)
        assert events
        joined += sum(event.kind is JOINED for event in events)
        gone += sum(event.kind is GONE for event in events)
    assert joined == gone == 120
