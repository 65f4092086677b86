"""How large a model fits this machine's memory, and how fast the processor could write with it at most.

For each token every weight is read once, so the memory's rate over the size of the weights is what no engine exceeds.
A prompt is limited by arithmetic instead, and mixtures of experts read only a part of their weights.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator

from localai_flask.diagnosis.findings import Finding
from localai_flask.machine import available_memory, physical_cores

TOPIC = "Speed"
SIZES = {"1B": 0.8e9, "4B": 2.5e9, "8B": 4.9e9, "14B": 9.0e9, "32B": 19.8e9, "70B": 42.5e9}
"""Bytes of common models' files with 4 bits for a weight (Q4_K_M)."""
ROOM = 1.15
"""How much more than its file a model takes, with a context of some thousand tokens."""
READ_BYTES = 512 << 20
"""What is read for the measurement: more than the caches of a processor hold."""
TRIES = 3


def check_speed() -> Iterator[Finding]:
    """Estimate what the processor can do; GPUs have memory of their own, which is faster."""
    memory = available_memory()
    if memory < 2 * READ_BYTES:
        yield Finding("warning", TOPIC, "There is too little free memory to measure how fast it is read.")
        return
    rate = read_rate(physical_cores())
    fitting = {name: size for name, size in SIZES.items() if size * ROOM < memory}
    if not fitting:
        yield Finding("warning", TOPIC, "No common model fits into the free memory.", "choose one below 1B")
        return
    shown = ", ".join(f"{name} {rate / size:.{0 if rate > 10 * size else 1}f}" for name, size in fitting.items())
    larger = " Larger ones do not fit." if len(fitting) < len(SIZES) else ""
    text = (
        f"The memory is read at {rate / 1e9:.0f} GB/s, which limits the processor to these tokens per second with "
        f"models of 4 bits: {shown}.{larger}"
    )
    yield Finding("ok", TOPIC, text)


def read_rate(threads: int) -> float:
    """Measure how many bytes per second all threads together read from memory, the best of some tries."""
    libc = ctypes.CDLL(None)
    libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    size = READ_BYTES // (2 * threads)
    pairs = [(_filled(size), _filled(size)) for _ in range(threads)]
    best = min(_time_reading(libc, pairs, size) for _ in range(TRIES))
    return 2 * threads * size / best


def _filled(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return a buffer that is written: pages that nobody wrote are one and the same, and come out of the cache."""
    buffer = ctypes.create_string_buffer(size)
    ctypes.memset(buffer, 1, size)
    return buffer


def _time_reading(libc: ctypes.CDLL, pairs: list[tuple[ctypes.Array, ctypes.Array]], size: int) -> float:
    """Return the seconds in which all pairs are compared side by side; the call releases the interpreter's lock."""
    workers = [threading.Thread(target=libc.memcmp, args=(*pair, size)) for pair in pairs]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - begun
