"""Cached tokens that move: chunks of an old prompt, and a full context that goes on."""

from __future__ import annotations

import re

import numpy as np
import pytest

from localai_flask.backends.llama_cpp.cache.shifting import Move, find_moves, kept_tokens
from localai_flask.errors import ConfigError
from localai_flask.generation import Constraint, FinishReason
from tests.support.gguf_models import BOS, IM_START

pytestmark = pytest.mark.usefixtures("hardly_repeatable")

GREEDY = {"max_tokens": 20, "ignore_eos": True}
CHAT = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nTell me all.<|im_end|>\n<|im_start|>assistant\n"


def array(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def test_chunks_follow_each_other_and_are_long_enough():
    cached = array(1, 2, 9, 9, 3, 4, 5, 8, 6, 7, 8)
    assert find_moves(cached, array(1, 2, 3, 4, 5, 6, 7, 8), 2, 3) == [Move(4, 2, 3), Move(8, 5, 3)]
    assert find_moves(cached, array(1, 2, 3, 4, 5, 6, 7, 8), 2, 4) == []
    assert find_moves(cached, array(1, 2, 5, 5), 2, 2) == []
    assert find_moves(cached, cached, 11, 2) == []


def test_what_a_shift_keeps():
    chat = array(BOS, IM_START, 300, 301, 260, IM_START, 302, IM_START, 303)
    controls = {BOS, IM_START, 260}.__contains__
    assert kept_tokens(chat, controls, True, 0) == 5
    assert kept_tokens(chat[1:], controls, False, 0) == 4
    assert kept_tokens(chat, controls, True, 7) == 7
    assert kept_tokens(chat, controls, True, -1) == kept_tokens(chat, controls, True, 99) == 9
    assert kept_tokens(array(BOS, 300, 301), controls, True, 0) == 1


def test_chunks_behind_a_removed_part_are_not_computed_again(open_engine):
    engine = open_engine("llama", "parallel:2", "cache_reuse:32")
    head, gone, kept = "head " * 8, "0123456789" * 2, "abcdefghijklmnopqrst" * 3
    engine.generate(head + gone + kept, **GREEDY)
    job = engine.generate(head + kept + "?", **GREEDY)

    assert job.num_cached == 1 + len(head + kept)
    engine.check_books()
    off = open_engine("llama", "parallel:2", "cache_reuse:0")
    off.generate(head + gone + kept, **GREEDY)
    assert off.generate(head + kept + "?", **GREEDY).num_cached == 1 + len(head)


def test_moving_a_shared_chunk_leaves_the_other_branch_as_it_is(open_engine):
    engine = open_engine("llama", "parallel:3", "cache_reuse:32")
    prompt = "head " * 8 + "0123456789" * 2 + "abcdefghijklmnopqrst" * 3
    whole = engine.generate(prompt, **GREEDY)
    beside = engine.submit(prompt + "!", max_tokens=60, ignore_eos=True)
    engine.step(3)
    moved = engine.submit("head " * 8 + "abcdefghijklmnopqrst" * 3 + "?", **GREEDY)
    engine.run()
    engine.check_books()

    assert moved.num_cached >= 41
    alone = open_engine("llama", "parallel:1")
    assert beside.output_tokens == alone.generate(prompt + "!", max_tokens=60, ignore_eos=True).output_tokens
    assert engine.generate(prompt, **GREEDY).output_tokens == whole.output_tokens


def test_a_full_context_ends_the_answer_unless_it_is_shifted(open_engine):
    still = open_engine("llama", "parallel:1").generate(CHAT, max_tokens=600, ignore_eos=True)
    engine = open_engine("llama", "parallel:1", "context_shift")
    job = engine.submit(CHAT, max_tokens=600, ignore_eos=True)
    while not engine.backend.is_idle:
        engine.step()
        if not engine.backend.is_idle:
            engine.check_books()

    assert len(still.prompt_tokens) + len(still.output_tokens) == 256
    assert engine.end(job).reason is FinishReason.MAX_TOKENS
    assert len(job.output_tokens) == 600
    before = 256 - 64 - len(job.prompt_tokens)
    assert job.output_tokens[:before] == still.output_tokens[:before]


def test_a_shift_keeps_the_first_message_and_leaves_it_to_others_only(open_engine):
    engine = open_engine("llama", "parallel:2", "context_shift")
    long = engine.submit(CHAT, max_tokens=400, ignore_eos=True)
    engine.step(5)
    beside = engine.submit(CHAT, max_tokens=60, ignore_eos=True)
    while len(long.output_tokens) < 300:
        engine.step()
        engine.check_books()
    sequence = engine.backend.scheduler.find(long.id)
    kept = sequence.kept
    assert sequence.slot.tokens[:kept].tolist() == long.prompt_tokens[:kept]
    assert long.prompt_tokens[kept] == IM_START and len(sequence.slot.computed) == kept
    engine.run()

    fresh = open_engine("llama", "parallel:1")
    assert beside.output_tokens == fresh.generate(CHAT, max_tokens=60, ignore_eos=True).output_tokens
    again = engine.generate(CHAT, **GREEDY)
    assert again.output_tokens == beside.output_tokens[:20]


def test_without_a_limit_of_its_own_an_answer_ends_with_the_context(open_engine):
    engine = open_engine("llama", "parallel:1", "context_shift")
    job = engine.generate(CHAT, ignore_eos=True)
    assert engine.end(job).reason is FinishReason.CONTEXT
    assert len(job.prompt_tokens) + len(job.output_tokens) == 256


@pytest.mark.parametrize("model", ["mamba", "rwkv7", "gemma3"])
@pytest.mark.parametrize("option", ["context_shift", "cache_reuse:64"])
def test_a_memory_that_cannot_be_moved_refuses_by_name(open_engine, model, option):
    with pytest.raises(ConfigError, match=option.partition(":")[0]):
        open_engine(model, option)


def test_forced_text_that_is_longer_than_the_context_has_room_for_shifts_it(open_engine):
    engine = open_engine("llama", "parallel:1", "context_shift", context_size=128)
    form = Constraint("regex", "x{300}[ab]{9}y{40}[ab]")
    job = engine.submit("a" * 90, constraint=form, max_tokens=400)
    while not engine.backend.is_idle:
        engine.step()
        engine.check_books()

    assert engine.end(job).reason is FinishReason.EOS
    assert re.fullmatch(form.text, engine.text(job))
