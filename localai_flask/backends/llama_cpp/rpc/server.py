"""This machine's devices for models that run elsewhere: llama.cpp's own RPC server, started through its C API.

Owns the choice of devices and the checks before the call, which never returns. Knows no model.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from localai_flask.backends.llama_cpp.model.devices import choose_devices, local_devices, local_gpus, read_memory
from localai_flask.backends.llama_cpp.model.library import backend_function, capture_log
from localai_flask.errors import ConfigError
from localai_flask.machine import physical_cores

log = logging.getLogger(__name__)

CPU = "CPU"


def run(address: str, *, threads: int = 0, devices: Sequence[str] = (), cache: Path | None = None) -> None:
    """Serve until SIGINT or SIGTERM ends the process; raise `ConfigError` if that is not possible."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    capture_log()
    failed: queue.SimpleQueue[ConfigError] = queue.SimpleQueue()

    def serve_or_tell() -> None:
        try:
            serve(address, threads=threads, devices=devices, cache=cache)
        except ConfigError as error:
            failed.put(error)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    threading.Thread(target=serve_or_tell, daemon=True).start()
    raise failed.get()


def serve(address: str, *, threads: int = 0, devices: Sequence[str] = (), cache: Path | None = None) -> None:
    """Serve devices at "host:port" until the process ends: the named ones, else the GPUs, else the CPU.

    Call it in a thread: it does not return while all is well, and heeds no signals. Raises `ConfigError`.
    """
    try:
        start = backend_function(
            *("RPC", "ggml_backend_rpc_start_server", None, ctypes.c_char_p, ctypes.c_char_p),
            *(ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p),
        )
    except AttributeError:
        raise ConfigError(
            "The installed llama.cpp was built without RPC; build it anew with "
            "`python -m localai_flask.engine_build install`."
        ) from None
    endpoint = resolve(address)
    if not endpoint.startswith("127."):
        log.warning(
            "%s is no loopback address: whoever reaches it can use this machine's memory and, through flaws of the "
            "library, perhaps run code; keep it behind a firewall.",
            endpoint,
        )
    chosen = _choose(devices)
    for name, device in chosen.items():
        log.info("offering %s with %.1f GiB of free memory", name, read_memory(device)[0] / 2**30)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    folder = None if cache is None else str(cache.absolute()).encode()
    array = (ctypes.c_void_p * len(chosen))(*chosen.values())
    log.info("serving llama.cpp's RPC at %s", endpoint)
    start(endpoint.encode(), folder, threads or physical_cores(), len(chosen), array)
    raise ConfigError(f"llama.cpp's RPC server at {endpoint} has ended; see what it said above.")


def resolve(address: str) -> str:
    """Return an address with a numeric IPv4 host, which is all that the library takes, after trying to listen there."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"The address {address!r} is not written as host:port; correct it.")
    try:
        number = socket.gethostbyname(host or "0.0.0.0")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((number, int(port)))
    except OSError as error:
        raise ConfigError(f"Cannot listen at {address}: {error.strerror or error}; choose another address.") from None
    return f"{number}:{port}"


def _choose(names: Sequence[str]) -> dict[str, int]:
    devices = local_devices()
    if not names:
        return local_gpus() or {CPU: devices[CPU]}
    choose_devices(names, [])  # refuses unknown names
    return {name: devices[name] for name in names}


def leave(*_: object) -> None:
    """End the process at once: its other thread sits in C, and the clients see a closed connection."""
    os._exit(0)
