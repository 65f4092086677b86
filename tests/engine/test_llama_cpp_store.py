"""Branches that left the cache for host memory, and the checkpoints of memory that forgets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from localai_flask.backends.llama_cpp.cache.host_store import HostStore, Stored
from localai_flask.backends.llama_cpp.cache.pins import Pin
from localai_flask.backends.llama_cpp.cache.states import States
from localai_flask.generation import Started
from tests.support.gguf_models import character

pytestmark = pytest.mark.usefixtures("hardly_repeatable")

GREEDY = {"max_tokens": 20, "ignore_eos": True}
TEXT = "".join(chr(33 + i * i % 90) for i in range(600))


@pytest.fixture
def fresh(open_engine):
    """Compute a prompt's answer with nothing cached."""
    return lambda prompt, model: open_engine(model, "parallel:1", context_size=1024).generate(prompt, **GREEDY)


@pytest.mark.parametrize("model", ["llama", "gemma3", "mamba", "rwkv7", "jamba"])
def test_an_idle_branch_goes_to_host_memory_and_comes_back(open_engine, fresh, model):
    engine = open_engine(model, "parallel:1", context_size=256)
    first = engine.generate("a" * 200, **GREEDY)
    engine.generate("b" * 200, **GREEDY)
    assert [entry.length for entry in engine.backend.cache.store.entries] == [220]
    prompt = first.prompt_tokens + first.output_tokens + [300, 301]
    again = engine.generate(prompt, **GREEDY)

    assert again.num_cached == len(prompt) - 3
    assert again.output_tokens == fresh(prompt, model).output_tokens
    engine.check_books()


def test_a_part_of_a_stored_branch_serves_and_the_whole_stays(open_engine, fresh):
    engine = open_engine("llama", "parallel:1", context_size=256)
    engine.generate("a" * 100 + "c" * 100, **GREEDY)
    engine.generate("b" * 200, **GREEDY)
    part = engine.generate("a" * 100 + "d" * 9, **GREEDY)
    engine.generate("b" * 220, **GREEDY)
    whole = engine.generate("a" * 100 + "c" * 100, **GREEDY)

    assert (part.num_cached, whole.num_cached) == (101, 200)
    assert part.output_tokens == fresh("a" * 100 + "d" * 9, "llama").output_tokens


def test_what_is_given_back_is_what_was_not_used_for_longest(open_engine):
    engine = open_engine("llama", "parallel:1", context_size=256)
    for letter in "abcd":
        engine.generate(letter * 200, **GREEDY)
    store = engine.backend.cache.store
    oldest, *others = store.entries
    assert len(others) == 2 and engine.backend.spare_bytes == store.size
    engine.backend.give_back(1)
    assert store.entries == others and oldest not in store.entries
    engine.backend.give_back(1 << 40)
    assert (store.entries, engine.backend.spare_bytes) == ([], 0)
    assert engine.generate("a" * 200, **GREEDY).num_cached == 1
    engine.check_books()


@pytest.mark.parametrize("off", ["cache_ram:0", "cache_idle_slots:false"])
def test_without_host_memory_what_leaves_the_cache_is_gone(open_engine, off):
    engine = open_engine("llama", "parallel:1", off, context_size=256)
    for letter in "ab":
        engine.generate(letter * 200, **GREEDY)
    assert not engine.backend.cache.store.entries
    assert engine.generate("a" * 200, **GREEDY).num_cached == 1


def test_many_idle_tokens_leave_the_cache_for_those_that_run(open_engine, monkeypatch):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.eviction.IDLE_CELLS", 300)
    engine = open_engine("llama", "parallel:4", context_size=512)
    for letter in "abcde":
        engine.generate(letter * 180, **GREEDY)
    running = engine.submit("z", **GREEDY)
    engine.step()

    assert engine.count_cells() <= 300 + 2
    assert [entry.tokens[1] for entry in engine.backend.cache.store.entries] == [
        engine.backend.model.vocabulary.tokens(letter, special=False)[0] for letter in "abcd"
    ]
    engine.run()
    assert len(running.output_tokens) == 20
    assert engine.generate("b" * 180, **GREEDY).num_cached == 180
    engine.check_books()


def test_the_store_counts_bytes_and_drops_what_was_not_used_for_longest():
    def put(tokens: int) -> bool:
        entry = Stored(np.zeros(tokens, np.int32), np.zeros(100, np.uint8))
        return store.put(entry.size, lambda: entry)

    store = HostStore(800)
    assert put(50) and put(50) and store.size == 600
    first, _ = store.entries
    store.touch(first)
    assert put(50) and put(0)
    assert store.entries[0] is first and store.size == 700
    assert not put(300)
    assert [entry.length for entry in store.entries] == [50, 50, 0]


def test_the_store_copies_nothing_that_it_cannot_keep():
    def fail() -> Stored:
        raise MemoryError

    store = HostStore(800)
    assert not store.put(801, lambda: pytest.fail("copied in vain"))
    assert not store.put(700, fail)
    assert store.size == 0 and not store.entries


def test_beside_a_stream_only_the_beginning_of_a_large_branch_is_copied(open_engine, fresh, monkeypatch):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.eviction.IDLE_CELLS", 300)
    engine = open_engine("llama", "parallel:2", context_size=256)
    store = engine.backend.cache.store
    engine.generate("a" * 200, **GREEDY)
    half = States(engine.backend.model.context).size(0) // 2
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.overflow.COPIED_BYTES", half)
    stream = engine.submit("s", max_tokens=250, ignore_eos=True)
    engine.step(3)
    monkeypatch.setattr(engine.backend.cache._eviction, "_most_idle", 100)
    beside = engine.submit("b", **GREEDY)
    engine.step()
    assert not store.entries  # it may stay
    engine.submit("c" * 230, **GREEDY)
    engine.run()
    engine.check_books()

    assert len(stream.output_tokens) == 250 and len(beside.output_tokens) == 20
    assert 100 <= next(entry.length for entry in store.entries if entry.tokens[1] == character("a")) <= 110
    again = engine.generate("a" * 200, **GREEDY)
    assert 100 <= again.num_cached <= 110
    assert again.output_tokens == fresh("a" * 200, "llama").output_tokens


@pytest.mark.parametrize("model", ["gemma3", "mamba", "rwkv7", "jamba"])
def test_a_second_turn_starts_from_the_checkpoint_at_the_end_of_the_first_prompt(open_engine, fresh, model):
    engine = open_engine(model, "parallel:2", context_size=1024)
    engine.generate(TEXT[:500], **GREEDY)
    prompt = TEXT[:500] + "~ no answer of the model's, but another one" + TEXT[:50]
    second = engine.generate(prompt, **GREEDY)

    assert 485 <= second.num_cached <= 501
    assert second.output_tokens == fresh(prompt, model).output_tokens
    engine.check_books()


@pytest.mark.parametrize("model", ["gemma3", "mamba", "rwkv7", "jamba"])
def test_checkpoints_are_apart_few_and_the_nearest_is_taken(open_engine, fresh, model):
    options = "parallel:2", "ubatch:16", "ctx_checkpoints:4", "checkpoint_min_step:64"
    engine = open_engine(model, *options, batch=16, context_size=1024)
    first = engine.generate(TEXT[:500], **GREEDY)
    slot = next(slot for slot in engine.backend.cache.slots if slot.length)
    lengths = [part.length for part in slot.checkpoints]
    assert len(lengths) == 4 and lengths[-1] == 501 - 8
    assert all(b - a >= 64 for a, b in pairwise(lengths[:-1]))
    early = TEXT[: lengths[1] + 10] + "~" * 30
    branch = engine.generate(early, **GREEDY)
    back = engine.generate(first.prompt_tokens + first.output_tokens, **GREEDY)

    assert branch.num_cached == lengths[1]
    assert branch.output_tokens == fresh(early, model).output_tokens
    assert back.num_cached == len(back.prompt_tokens) - 1
    engine.check_books()


def test_without_memory_to_spare_no_checkpoints_are_made_and_nobody_waits_for_one(open_engine, fresh, monkeypatch):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.checkpoints.available_memory", lambda: 1 << 20)
    engine = open_engine("rwkv7", "parallel:2", batch=32, context_size=1024)
    jobs = [engine.submit(TEXT[:300] + end, **GREEDY) for end in ("one", "two")]
    engine.run()

    assert not any(slot.checkpoints for slot in engine.backend.cache.slots)
    assert [job.num_cached for job in jobs] == [0, 0]
    # Two at once round otherwise than one alone, and the likeliest tokens are close: a wrong state shows early.
    assert jobs[1].output_tokens[:8] == fresh(TEXT[:300] + "two", "rwkv7").output_tokens[:8]
    engine.check_books()


def test_the_store_keeps_what_is_pinned_while_others_go():
    def put(tokens: int, pin: Pin | None = None) -> bool:
        entry = Stored(np.full(tokens, tokens, np.int32), np.zeros(100, np.uint8), pin=pin)
        return store.put(entry.size, lambda: entry, is_pinned=pin is not None)

    def kept() -> list[int]:
        return [entry.length for entry in store.entries]

    store = HostStore(800)
    pin = Pin.of(40, 300)
    assert put(40, pin) and put(50) and put(51) and kept() == [40, 51]
    assert not put(150) and kept() == [40]  # the rest is too little for it, and the pin holds
    assert put(41, Pin.of(41, 301)) and put(42) and kept() == [40, 41, 42]
    assert put(43) and kept() == [41, 43]  # both would be more than half of it: the older pin is as none
    assert put(150, pin) and kept() == [150]


@pytest.mark.parametrize("off", ["", "cache_ram:0"])
def test_a_pinned_prefix_outlives_others_until_its_time_is_over(open_engine, monkeypatch, off):
    clock = [1000.0]
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.pins.now", lambda: clock[0])
    engine = open_engine("llama", "parallel:2", *([off] if off else ["cache_ram:1"]), context_size=256)
    pinned, prompt = engine.generate("a" * 150, keep_s=300, **GREEDY), "a" * 150 + "!"
    if not off:
        engine.backend.cache.store.limit = 5 * States(engine.backend.model.context).size(0) // 2
    assert engine.end(pinned).usage.kept_tokens == 151 and engine.of(pinned, Started)[0].kept_tokens == 151
    for letter in "bcdefg":
        engine.generate(letter * 150, **GREEDY)
        engine.check_books()
    assert engine.generate("b" * 150, **GREEDY).num_cached < 150
    clock[0] += 200
    again = engine.generate(prompt, **GREEDY)
    assert (again.num_cached, again.num_kept) == (151, 0)
    clock[0] += 200  # it was renewed 200 seconds ago
    for letter in "bcdefg":
        engine.generate(letter * 150, **GREEDY)
    assert engine.generate(prompt, **GREEDY).num_cached == 151
    clock[0] += 301
    for letter in "bcdefg":
        engine.generate(letter * 150, **GREEDY)
    assert engine.generate(prompt, **GREEDY).num_cached < 150
    engine.check_books()


def test_pins_leave_half_of_the_cache_to_others(open_engine):
    engine = open_engine("llama", "parallel:2", "cache_ram:0", context_size=256)
    for letter in "abcd":
        engine.generate(letter * 150, keep_s=3600, **GREEDY)
    for letter in "xyz":
        engine.generate(letter * 150, **GREEDY)
    assert engine.generate("d" * 150, **GREEDY).num_cached == 150  # the last one's pin holds
    assert engine.generate("a" * 150, **GREEDY).num_cached < 150
    both = [engine.submit(letter * 230, **GREEDY) for letter in "mn"]  # what runs gets all the room there is
    engine.run()
    assert [len(job.output_tokens) for job in both] == [20, 20]
    engine.check_books()


def test_a_prompt_that_shares_only_a_part_of_a_pinned_one_forks(open_engine):
    engine = open_engine("llama", "parallel:2", context_size=1024)
    engine.generate("a" * 900, keep_s=300, **GREEDY)
    assert engine.generate("a" * 830 + "b", **GREEDY).num_cached == 831
    assert engine.generate("a" * 900, **GREEDY).num_cached == 900


def test_a_pin_that_is_over_is_not_renewed_by_a_use(open_engine, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.pins.now", lambda: clock[0])
    engine = open_engine("llama", "parallel:2", "cache_ram:0", context_size=256)
    engine.generate("a" * 150, keep_s=300, **GREEDY)
    clock[0] += 301
    assert engine.generate("a" * 150, **GREEDY).num_cached == 150
    for letter in "bcd":
        engine.generate(letter * 150, **GREEDY)
    assert engine.generate("a" * 150, **GREEDY).num_cached < 150


def test_streams_of_a_hybrid_model_keep_their_states_apart(open_engine, fresh):
    engine = open_engine("jamba", "parallel:3", context_size=1024)
    assert engine.backend.model.is_hybrid and engine.backend.model.cannot_roll_back
    prompts = [TEXT[:300] + end for end in ("one", "another", "a third")] + ["b" * 100, TEXT[:200]]
    jobs = [engine.submit(prompt, **GREEDY) for prompt in prompts]
    engine.run()
    engine.check_books()

    assert [job.num_cached >= 290 for job in jobs[:3]] == [False, True, True]  # from a checkpoint of the first one
    assert [job.output_tokens for job in jobs] == [fresh(prompt, "jamba").output_tokens for prompt in prompts]
