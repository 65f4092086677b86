"""What of a cache nothing was written to takes no memory, and is told as what it may come to take."""

from __future__ import annotations

import ctypes
import json
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from localai_flask.backends.llama_cpp.model import untouched

WIDE = 131_072
SLACK = 24 << 20
"""Beside the cache, what a step computes with may hold zeros too."""
PROGRAM = """
import json, sys
from pathlib import Path
from localai_flask.backends.llama_cpp import engine as engine_module
from localai_flask.machine import resident_memory
from tests.engine.conftest import load_engine

if sys.argv[2] == "keep":
    engine_module.give_back_untouched = lambda: None
before = resident_memory()
engine = load_engine(Path(sys.argv[1]), "parallel:4", context_size=int(sys.argv[3]))
backend, model = engine.backend, engine.backend.model
told = {
    "cache": model.memory_bytes - model.weight_bytes,
    "taken": resident_memory() - before,
    "reserved": backend.reserved_bytes,
    "answers": [engine.generate(text * 9000, max_tokens=20, ignore_eos=True).output_tokens for text in "ab"],
    "reserved_later": backend.reserved_bytes,
}
backend.close()
print(json.dumps({**told, "reserved_after": backend.reserved_bytes}))
"""
"""Run by itself, as model workers are: in a process that has freed much memory, the cache may lie in that."""


def run(model: Path, what: str) -> dict[str, Any]:
    command = [sys.executable, "-c", PROGRAM, str(model), what, str(WIDE)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_fresh_cache_lies_in_no_memory_and_answers_are_the_same(gguf):
    whole, lazy = run(gguf["llama"], "keep"), run(gguf["llama"], "give")
    cache = whole["cache"]
    assert cache > 3 * untouched.LEAST, "else the test tells nothing"
    assert whole["reserved"] == 0
    assert cache - SLACK < lazy["reserved"] <= cache + SLACK
    assert whole["taken"] - lazy["taken"] > cache - SLACK
    assert lazy["answers"] == whole["answers"]
    used, token_bytes = lazy["reserved"] - lazy["reserved_later"], cache / (4 * WIDE)
    assert 9000 * token_bytes / 2 < used < lazy["reserved"] // 2, "what is used is counted no more"
    assert lazy["reserved_after"] == 0, "a freed context is forgotten"


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
