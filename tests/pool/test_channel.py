"""The channel with real processes: whole messages in order, back-pressure with a deadline, and no silent death."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
import resource
import signal
import socket
import struct
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localai_flask.pool.channel import Channel, ChannelFull, ChannelGone, Hub, HubEvent, HubEventKind, handshake, lobby
from localai_flask.pool.channel.ring import CHUNK_BYTES, MAX_MESSAGE_BYTES

MESSAGE, JOINED, GONE, ROOM, FD = HubEventKind
SOON_S = 1.0
PATIENCE_S = 10.0
_names = itertools.count()


def open_fds() -> set[int]:
    """Return the descriptors of this process, without the one that lists them."""
    return {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = open_fds()
    yield
    assert open_fds() == before
    assert "localai-flask-channel" not in Path("/proc/self/maps").read_text()
    assert not [entry for entry in os.listdir("/dev/shm") if "localai" in entry]


@pytest.fixture
def name() -> str:
    return f"test-channel-{os.getpid()}-{next(_names)}"


@pytest.fixture
def hub(name: str) -> Iterator[Hub]:
    with contextlib.closing(Hub(name)) as hub:
        yield hub


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
    while channel.try_send(b"x" * 10_000):
        sent += 1
    return sent


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def echo_forever(name: str) -> None:
    with contextlib.closing(Hub(name)) as hub:
        while True:
            for event in hub.recv():
                if event.kind is MESSAGE:
                    event.channel.send(event.payload, PATIENCE_S)


def connect_soon(name: str) -> Channel:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Channel.connect(name)
        except ChannelGone:
            assert time.monotonic() < deadline
            time.sleep(0.002)


# --- messages


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


def test_a_small_message_overtakes_a_long_one(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    threads = [threading.Thread(target=caller.send, args=(body, PATIENCE_S)) for body in (bytes(4_000_000), b"small")]
    for thread, lock in zip(threads, (caller._writing, caller._turnstile), strict=True):
        thread.start()
        wait_until(lock.locked)
    wait_until(lambda: not caller._writer.has_room(CHUNK_BYTES))
    got = payloads(receive(hub, MESSAGE, MESSAGE))
    for thread in threads:
        thread.join()
    caller.close()
    assert got[0] == b"small"


def test_too_long_a_message_is_refused_before_anything_is_sent(hub: Hub, name: str) -> None:
    caller, _ = pair(hub, name)
    for send in (caller.send, caller.try_send):
        with pytest.raises(ValueError, match="too long"):
            send(bytes(MAX_MESSAGE_BYTES + 1))
    caller.send(memoryview(struct.pack("<2Q", 1, 2)).cast("Q"))
    assert payloads(receive(hub, MESSAGE)) == [struct.pack("<2Q", 1, 2)]
    caller.close()


# --- room


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
        assert caller.try_send(b"again")
        receive(hub, MESSAGE)
        assert owner.recv(0.02) == [], "ROOM was not asked for again"


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
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
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


# --- death


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


def test_a_killed_receiver_frees_a_blocked_sender_and_tells_its_hub(name: str) -> None:
    with forked(lambda: echo_forever(name)) as pid, contextlib.closing(Hub()) as hub:
        channel = connect_soon(name)
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        hub.add(channel)
        threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
        started = time.monotonic()
        with pytest.raises(ChannelGone):
            while True:
                channel.send(bytes(1_000_000), PATIENCE_S)
        receive(hub, GONE)
        assert time.monotonic() - started < SOON_S
        assert not channel.alive
        for send in (channel.send, channel.try_send):
            with pytest.raises(ChannelGone):
                send(b"x")
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


# --- strangers and rule breakers


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


def test_out_of_descriptors_is_a_pause_and_not_a_spin(hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "PAUSE_S", 0.2)
    caller = Channel.connect(name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    busy = time.process_time()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        assert hub.recv(0.15) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert time.process_time() - busy < 0.1
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


# --- waiting


def test_wake_and_signals_make_recv_return(hub: Hub) -> None:
    threading.Timer(0.05, hub.wake).start()
    started = time.monotonic()
    assert hub.recv(PATIENCE_S) == []
    hub.wake()
    hub.wake()
    assert hub.recv(PATIENCE_S) == []
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.set_wakeup_fd(hub.wake_fd, warn_on_full_buffer=False)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert hub.recv(PATIENCE_S) == []
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < SOON_S


def test_a_foreign_descriptor_is_reported_while_it_is_readable(hub: Hub) -> None:
    with forked(lambda: None) as pid:
        pidfd = os.pidfd_open(pid)
        hub.watch(pidfd)
        assert [hub.recv(PATIENCE_S) for _ in range(2)] == [[HubEvent(FD, fd=pidfd)]] * 2
        hub.unwatch(pidfd)
        assert hub.recv(0.01) == []
        os.close(pidfd)
