"""Other machines' devices, through llama.cpp's RPC: which servers can be used, and which one is gone.

Owns the check before the library connects, since the library ends the process when it cannot, and the words on the way
out when a server is lost later.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from localai_flask.backends.llama_cpp.model.library import backend_function, ggml
from localai_flask.errors import ApiError, ConfigError, ModelLoadFailed, RemoteLost, WorkerDied

PROTOCOL = 7
"""Major version of the RPC protocol in the linked library (ggml-rpc.h)."""
PATIENCE_S = 3.0
FAREWELL_S = 0.3
"""Time for the web workers to read the last words, before the channel to this process breaks."""
LOOKS, LOOK_S = 10, 0.1
_HELLO = struct.pack("<BQ24x", 14, 24)  # command, size of what follows, no special transport
_REPLY = struct.Struct("<QBBB25x")

_used: list[str] = []
_tell: list[Callable[[ApiError], None]] = []
_on_abort: Any = None  # C keeps the pointer, so Python has to keep the object


def tell_last_words(to: Callable[[ApiError], None] | None) -> None:
    """Choose whom to tell why the library ends the process; there is one model in a process that has one to tell."""
    _tell[:] = [] if to is None else [to]


def connect(servers: Sequence[str]) -> list[int]:
    """Connect to servers ("host:port") and give all their devices.

    Raises `ConfigError` or `ModelLoadFailed` with one sentence that names the server.
    """
    if not servers:
        return []
    try:
        add_server = backend_function("RPC", "ggml_backend_rpc_add_server", ctypes.c_void_p, ctypes.c_char_p)
    except AttributeError:
        raise ConfigError(
            "The installed llama.cpp was built without RPC; build it anew with `python -m localai_flask.engine_build "
            "install`, or remove rpc_servers.",
            param="options",
        ) from None
    count = ggml("ggml_backend_reg_dev_count", ctypes.c_size_t, ctypes.c_void_p)
    device = ggml("ggml_backend_reg_dev_get", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    for server in servers:
        check(server)
    _tell_who_is_gone(servers)
    registries = [add_server(server.encode()) for server in servers]
    return [device(registry, index) for registry in registries for index in range(count(registry))]


def check(server: str) -> None:
    """Greet a server as the library would; raise `ConfigError` or `ModelLoadFailed` if that fails."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"The RPC server {server!r} is not written as host:port; correct it.", param="options")
    try:
        with closing(socket.create_connection((host, int(port)), PATIENCE_S)) as connection:
            connection.sendall(_HELLO)
            reply = _read(connection, _REPLY.size)
    except TimeoutError:
        raise ModelLoadFailed(
            f"The RPC server {server} does not answer; it serves one client at a time, so see whether another uses it."
        ) from None
    except OSError as error:
        raise ModelLoadFailed(
            f"The RPC server {server} cannot be reached ({error.strerror or error}); start it there with "
            "`localai-flask worker llama-cpp-rpc` and check the address."
        ) from None
    _, major, minor, patch = _REPLY.unpack(reply)
    if major != PROTOCOL:
        raise ModelLoadFailed(
            f"The RPC server {server} speaks version {major}.{minor}.{patch} of the protocol and this machine "
            f"{PROTOCOL}; install the same version of llama-cpp-python on both."
        )


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("it hung up; perhaps it is no RPC server of llama.cpp")
        data += part
    return data


def _tell_who_is_gone(servers: Sequence[str]) -> None:
    """Have the last words of this process name the lost server: the library then ends it, whatever we do."""
    global _on_abort
    _used[:] = servers
    if _on_abort is None:
        _on_abort = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_last_words)
        ggml("ggml_set_abort_callback", ctypes.c_void_p, ctypes.c_void_p)(ctypes.cast(_on_abort, ctypes.c_void_p))


def _last_words(message: bytes) -> None:
    text, kind = message.decode(errors="replace"), WorkerDied
    if "RPC" in text or "connect" in text:
        if lost := _lost():
            text = f"The RPC server {' and '.join(lost)} is gone; start it again."
        else:
            text = f"An RPC server ({', '.join(_used)}) has closed the connection; see its log."
        kind = RemoteLost
    os.write(2, f"{text}\n".encode())
    for tell in _tell:
        tell(kind(text))
        time.sleep(FAREWELL_S)


def _lost() -> list[str]:
    """Find the servers that are gone; one that dies breaks its connections a moment before it stops to listen."""
    for _ in range(LOOKS):
        if lost := [server for server in _used if not _is_there(server)]:
            return lost
        time.sleep(LOOK_S)
    return []


def _is_there(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE_S).close()
    except OSError:
        return False
    return True
