"""Contexts of the library, made and freed, and what of their caches nothing has been written to.

The library fills a cache with zeros, so that all of it lies in memory before the first token comes. Such pages are
given back, and the kernel makes them anew, as zeros, when they are used: a server that has had few tokens takes little
memory. What it may still come to take is told, so that nobody else counts on it. Works on Linux, for caches that lie in
the memory of this process.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from localai_flask.backends.llama_cpp.model.library import lib

MAPS = Path("/proc/self/maps")
LEAST = 16 << 20
"""Memory that was mapped for a cache has at least this size; the heaps of threads and of Python grow by less."""
CHUNK = 2 << 20
"""Memory is looked through in pieces of this size: a huge page, where the kernel makes such."""

_libc = ctypes.PyDLL(None, use_errno=True)
"""Called without letting go of Python's lock, so that no other thread of Python writes in between."""
_Span = tuple[int, int]
_mapped_for: dict[int, list[_Span]] = {}
"""What was mapped for each context, by the context's address."""
_given_back: dict[int, list[_Span]] = {}
"""What of that was given back."""


def make_context(handle: Any, params: Any) -> Any:
    """Make a context on a model's weights; None if the library cannot."""
    before = _mapped()
    context = lib.llama_init_from_model(handle, params)
    if context is not None:
        _mapped_for[_address(context)] = _new(before, _mapped())
    return context


def free_context(context: Any) -> None:
    """Free a context that `make_context` has made."""
    for spans in (_mapped_for, _given_back):
        spans.pop(_address(context), None)
    lib.llama_free(context)


def give_back_untouched() -> None:
    """Release what lies in memory and holds zeros only; called when nothing is being computed."""
    for context, spans in _mapped_for.items():
        chunks = ((at, min(at + CHUNK, end)) for begin, end in spans for at in range(begin, end, CHUNK))
        _given_back.setdefault(context, []).extend(_joined(chunk for chunk in chunks if _give_back(*chunk)))


def _joined(chunks: Iterable[_Span]) -> list[_Span]:
    """Join the pieces that follow each other: the kernel is asked about each that is left with every heartbeat."""
    joined: list[_Span] = []
    for begin, end in chunks:
        if joined and joined[-1][1] == begin:
            begin, _ = joined.pop()
        joined.append((begin, end))
    return joined


def count_untouched() -> int:
    """Return how many bytes of caches do not lie in memory, but will when they are used."""
    return sum(_count_absent(begin, end) for spans in list(_given_back.values()) for begin, end in list(spans))


def _give_back(begin: int, end: int) -> bool:
    """Release a piece of memory, if all of it is there and zero; return whether it was."""
    if _count_absent(begin, end) or not _is_zero(begin, end - begin):
        return False
    return bool(_libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED) == 0)


def _count_absent(begin: int, end: int) -> int:
    pages = np.zeros((end - begin) // mmap.PAGESIZE, np.uint8)
    pointer = ctypes.c_void_p(pages.ctypes.data)
    if _libc.mincore(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), pointer) != 0:
        return 0  # it has been freed meanwhile
    return int(len(pages) - np.count_nonzero(pages & 1)) * mmap.PAGESIZE


def _is_zero(address: int, size: int) -> bool:
    """Return whether memory holds zeros only: its first byte is one, and each is like the one before."""
    first = ctypes.c_char.from_address(address).value
    return first == b"\0" and _libc.memcmp(ctypes.c_void_p(address), ctypes.c_void_p(address + 1), size - 1) == 0


def _mapped() -> list[_Span]:
    """Return where this process has written to memory that is no file's and nobody else's, in order."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []
    fields = (line.split() for line in lines)
    spans = (part[0].split("-") for part in fields if len(part) == 5 and part[1] == "rw-p")
    return [(int(begin, 16), int(end, 16)) for begin, end in spans]


def _new(before: list[_Span], after: list[_Span]) -> list[_Span]:
    """Return the large parts of what is mapped now that were not before."""
    found = []
    for begin, end in after:
        for old_begin, old_end in before:
            if old_begin < end and old_end > begin:
                found.append((begin, max(old_begin, begin)))
                begin = max(begin, old_end)
        found.append((begin, end))
    return [(begin, end) for begin, end in found if end - begin >= LEAST]


def _address(context: Any) -> int:
    return ctypes.cast(context, ctypes.c_void_p).value or 0
