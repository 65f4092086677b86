"""What two ends share, and how it is handed over: one hello with the memory and its counters, then silence.

Also sees to it that a forked child keeps none of the sockets: a peer would take the child's copy for a living process.
Knows nothing of messages.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import mmap
import os
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

from localai_flask.pool.channel.ring import ALIGNMENT, CHUNK_BYTES, ProtocolError

MAGIC = b"LAFc"
WIRE_VERSION = 2
HELLO = struct.Struct("<4sII")
"""Magic, version, bytes in each ring; with it come the memory and four counters, as file descriptors."""
COUNTERS = 4
MIN_RING_BYTES, MAX_RING_BYTES = 2 * CHUNK_BYTES, 64 << 20
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""A peer that cut the memory short would kill us with SIGBUS at the next access."""
CREDENTIALS = struct.Struct("3i")


class ChannelGone(ConnectionError):
    """The peer has died, has closed the channel, or was never there."""


class ChannelFull(TimeoutError):
    """The peer is alive but has taken no call in time."""


class ChannelEnds(NamedTuple):
    """What the two ends of a channel share; the counters are the caller's published and freed, then the other's."""

    socket: socket.socket
    memory: mmap.mmap
    counters: tuple[int, int, int, int]


_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_making_socket = threading.Lock()


def _close_inherited_sockets() -> None:
    for inherited in list(_sockets):
        inherited.close()
    _making_socket.release()


os.register_at_fork(
    before=_making_socket.acquire,  # else a fork could come between the making of a socket and its entry in the set
    after_in_parent=_making_socket.release,
    after_in_child=_close_inherited_sockets,
)


def unshared_socket(make: Callable[[], socket.socket]) -> socket.socket:
    """Make a socket that forked children close."""
    with _making_socket:
        made = make()
        _sockets.add(made)
    return made


def unix_socket() -> socket.socket:
    """Make an AF_UNIX stream socket that forked children close."""
    return unshared_socket(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process on the other side, as the kernel knows them."""
    pid, uid, _ = CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return pid, uid


def call(name: str, ring_bytes: int, timeout: float) -> ChannelEnds:
    """Connect to an abstract name and hand over fresh rings; raise ChannelGone or ChannelFull.

    No answer is awaited: a refusal shows as the end of the connection.
    """
    if ring_bytes % ALIGNMENT or not MIN_RING_BYTES <= ring_bytes <= MAX_RING_BYTES:
        raise ValueError(f"A ring needs {MIN_RING_BYTES} to {MAX_RING_BYTES} bytes, a multiple of {ALIGNMENT}.")
    with contextlib.ExitStack() as undo:
        connected = _connect(name, timeout)
        undo.callback(connected.close)
        counters = []
        for _ in range(COUNTERS):
            counters.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            undo.callback(os.close, counters[-1])
        memory_fd = os.memfd_create("localai-flask-channel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory_fd, 2 * ring_bytes)
            fcntl.fcntl(memory_fd, fcntl.F_ADD_SEALS, SEALS)
            memory = mmap.mmap(memory_fd, 2 * ring_bytes)
            _send_hello(connected, HELLO.pack(MAGIC, WIRE_VERSION, ring_bytes), [memory_fd, *counters])
        finally:
            os.close(memory_fd)
        undo.pop_all()
        return ChannelEnds(connected, memory, (counters[0], counters[1], counters[2], counters[3]))


def _connect(name: str, timeout: float) -> socket.socket:
    with contextlib.ExitStack() as undo:
        connected = unix_socket()
        undo.callback(connected.close)
        # A non-blocking connect fails at once on a full backlog; only a blocking one waits, for as long as this says.
        seconds, microseconds = divmod(max(1, int(timeout * 1e6)), 1_000_000)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, microseconds))
        try:
            connected.connect("\0" + name)
        except (ConnectionRefusedError, FileNotFoundError):
            raise ChannelGone(f"No process listens as {name!r}; it has ended or is not up yet.") from None
        except BlockingIOError:
            raise ChannelFull(f"The process behind {name!r} took no new connection for {timeout:g} s.") from None
        pid, uid = peer_of(connected)
        if uid != os.geteuid():
            raise ChannelGone(f"{name!r} belongs to process {pid} of another user ({uid}); end it or use another name.")
        connected.setblocking(False)
        undo.pop_all()
        return connected


def _send_hello(connected: socket.socket, hello: bytes, fds: list[int]) -> None:
    try:
        socket.send_fds(connected, [hello], fds)
    except (BrokenPipeError, ConnectionResetError):
        raise ChannelGone("The peer hung up before it was greeted.") from None


def answer(connected: socket.socket) -> ChannelEnds:
    """Read and check a caller's hello.

    Raises BlockingIOError if it has not come yet; ProtocolError and OSError mean that the caller must be refused. The
    socket is the caller's to close.
    """
    pid, uid = peer_of(connected)
    if uid != os.geteuid():
        raise ProtocolError(f"process {pid} belongs to another user ({uid})")
    with contextlib.ExitStack() as undo:
        hello, fds = _receive_hello(connected)
        for fd in fds:
            undo.callback(os.close, fd)
        ring_bytes = _check_hello(hello, fds)
        memory_fd, published, freed, published_back, freed_back = fds
        memory = mmap.mmap(memory_fd, 2 * ring_bytes)
        undo.pop_all()
        os.close(memory_fd)
        return ChannelEnds(connected, memory, (published, freed, published_back, freed_back))


def _receive_hello(connected: socket.socket) -> tuple[bytes, list[int]]:
    fds = array.array("i")
    # socket.recv_fds drops its flags, and without the second one programs that we start would inherit the descriptors.
    hello, ancillary, _, _ = connected.recvmsg(
        HELLO.size, socket.CMSG_LEN((1 + COUNTERS) * fds.itemsize), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return hello, list(fds)


def _check_hello(hello: bytes, fds: list[int]) -> int:
    if len(hello) != HELLO.size or len(fds) != 1 + COUNTERS:
        raise ProtocolError(f"its hello has {len(hello)} bytes and {len(fds)} descriptors")
    magic, version, ring_bytes = HELLO.unpack(hello)
    assert isinstance(ring_bytes, int)
    if magic != MAGIC or version != WIRE_VERSION:
        raise ProtocolError(f"it speaks {magic!r} version {version}, not {MAGIC!r} version {WIRE_VERSION}")
    if ring_bytes % ALIGNMENT or not MIN_RING_BYTES <= ring_bytes <= MAX_RING_BYTES:
        raise ProtocolError(f"its rings have {ring_bytes} bytes")
    if not _is_sealed(fds[0]) or os.fstat(fds[0]).st_size != 2 * ring_bytes:
        raise ProtocolError("its memory is not sealed, or not as large as it says")
    if not all(map(_is_counter, fds[1:])):
        raise ProtocolError("its counters are not non-blocking eventfds")
    return ring_bytes


def _is_sealed(fd: int) -> bool:
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError as error:
        if error.errno == errno.EINVAL:  # no memfd at all
            return False
        raise


def _is_counter(fd: int) -> bool:
    is_eventfd = os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventfd]"
    return is_eventfd and bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK)
