"""What of a cache nothing was written to takes no memory, and is told as what it may come to take."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

from localai_flask.backends.llama_cpp.model import untouched
from localai_flask.machine import resident_memory

GREEDY = {"max_tokens": 20, "ignore_eos": True}
WIDE = {"context_size": 131_072}
SLACK = 8 << 20


def test_a_fresh_cache_lies_in_no_memory_and_answers_are_the_same(open_engine, monkeypatch):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.engine.give_back_untouched", lambda: None)
    whole = open_engine("llama", "parallel:4", **WIDE)
    cache_bytes = whole.backend.model.memory_bytes - whole.backend.model.weight_bytes
    assert cache_bytes > 3 * untouched.LEAST, "else the test tells nothing"
    assert whole.backend.reserved_bytes < SLACK
    expected = [whole.generate(text * 300, **GREEDY).output_tokens for text in "ab"]
    whole.backend.close()
    monkeypatch.undo()

    before = resident_memory()
    engine = open_engine("llama", "parallel:4", **WIDE)
    assert resident_memory() - before < cache_bytes // 2
    assert cache_bytes - SLACK < engine.backend.reserved_bytes <= cache_bytes + SLACK
    assert [engine.generate(text * 300, **GREEDY).output_tokens for text in "ab"] == expected


def test_what_is_used_is_counted_no_more(open_engine):
    engine = open_engine("llama", "parallel:4", **WIDE)
    model, before = engine.backend.model, engine.backend.reserved_bytes
    token_bytes = (model.memory_bytes - model.weight_bytes) / (4 * WIDE["context_size"])
    engine.generate("a" * 9000, **GREEDY)
    used = before - engine.backend.reserved_bytes
    assert 9000 * token_bytes / 2 < used < before // 2
    engine.backend.close()
    assert untouched.count_untouched() < SLACK, "a freed context is forgotten"


def test_only_zeros_are_given_back(monkeypatch):
    memory = mmap.mmap(-1, 3 * untouched.CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    numbers = np.frombuffer(memory, np.uint8)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    numbers[:] = 0
    numbers[2 * untouched.CHUNK - 1] = 7
    monkeypatch.setattr(untouched, "_mapped_for", {1: [(begin, begin + len(numbers))]})
    monkeypatch.setattr(untouched, "_given_back", {})
    assert untouched.count_untouched() == 0
    untouched.give_back_untouched()
    assert untouched.count_untouched() == 2 * untouched.CHUNK
    assert np.flatnonzero(numbers).tolist() == [2 * untouched.CHUNK - 1]


def test_what_is_mapped_anew_is_told_from_what_was_there():
    least = untouched.LEAST
    before = [(0, least), (5 * least, 6 * least)]
    after = [(0, 3 * least), (4 * least, 6 * least), (8 * least, 8 * least + 4096)]
    assert untouched._new(before, after) == [(least, 3 * least), (4 * least, 5 * least)]
