"""Prefixes found in the cache: what is reused, from whom, and that the answer is the one of a fresh computation."""

from __future__ import annotations

import pytest

from localai_flask.backends.llama_cpp.cache.kv_cache import WORTH_WAITING
from localai_flask.generation import Delta, Progress, Started

pytestmark = pytest.mark.usefixtures("hardly_repeatable")

SYSTEM = "You are a parrot who repeats what it hears. " * 2
ONE, TWO = SYSTEM + "Hello!", SYSTEM + "What is your name?"
GREEDY = {"max_tokens": 20, "ignore_eos": True}


@pytest.fixture
def fresh(open_engine):
    """Compute a prompt's answer with nothing cached."""
    return lambda prompt, model="llama": open_engine(model).generate(prompt, **GREEDY).output_tokens


def test_the_same_prompt_again_computes_its_last_token_only(open_engine, fresh):
    engine = open_engine("llama", "parallel:1")
    first, again = engine.generate(ONE, **GREEDY), engine.generate(ONE, **GREEDY)

    assert (first.num_cached, again.num_cached) == (0, len(ONE))  # begin-of-sequence comes on top
    assert engine.end(again).usage.cached_tokens == engine.of(again, Started)[0].cached_tokens == len(ONE)
    assert first.output_tokens == again.output_tokens == fresh(ONE)


def test_a_prompt_may_keep_out_of_the_cache(open_engine):
    engine = open_engine("llama", "parallel:2")
    engine.generate(ONE, **GREEDY)
    without = engine.generate(ONE, cache_prompt=False, **GREEDY)
    running = engine.submit(ONE, **GREEDY)
    beside = engine.submit(ONE, cache_prompt=False, **GREEDY)
    engine.run()

    assert (without.num_cached, running.num_cached, beside.num_cached) == (0, len(ONE), 0)
    assert without.output_tokens == running.output_tokens == beside.output_tokens


def test_seeds_repeat_exactly_where_attention_adds_up_in_32_bits(open_engine):
    engine = open_engine("llama", "parallel:1", flash_attention="off")
    texts = [
        [engine.generate(ONE, temperature=0.9, seed=seed, **GREEDY).output_tokens for seed in range(5)]
        for _ in range(4)
    ]
    assert texts[1:] == texts[:1] * 3


def test_a_conversation_goes_on_where_it_ended(open_engine, fresh):
    engine = open_engine("llama", "parallel:2")
    first = engine.generate(ONE, **GREEDY)
    prompt = first.prompt_tokens + first.output_tokens + [300, 301, 302]
    second = engine.generate(prompt, **GREEDY)

    assert second.num_cached == len(prompt) - 4  # the last token of the answer was never computed
    assert second.output_tokens == fresh(prompt)


def test_a_prefix_is_taken_from_an_idle_slot_and_left_there(open_engine, fresh):
    engine = open_engine("llama", "parallel:3")
    engine.generate("z" * 30, **GREEDY)
    first = engine.generate(ONE + "?" * 90, **GREEDY)
    second = engine.generate(TWO, **GREEDY)
    engine.check_books()
    third = engine.generate(first.prompt_tokens, **GREEDY)

    assert second.num_cached == 1 + len(SYSTEM)
    assert second.output_tokens == fresh(TWO)
    assert third.num_cached == len(first.prompt_tokens) - 1
    assert third.output_tokens == first.output_tokens


def test_a_prefix_is_taken_from_a_running_sequence(open_engine, fresh):
    engine = open_engine("llama", "parallel:2")
    first = engine.submit(ONE, **GREEDY)
    engine.step(5)
    second = engine.submit(TWO, **GREEDY)
    engine.run()

    assert second.num_cached == 1 + len(SYSTEM)
    assert (first.output_tokens, second.output_tokens) == (fresh(ONE), fresh(TWO))
    engine.check_books()


def test_the_owner_of_a_shared_prefix_may_leave(open_engine, fresh):
    engine = open_engine("llama", "parallel:2")
    first = engine.submit(ONE, **GREEDY)
    engine.step(5)
    second = engine.submit(TWO, **GREEDY)
    engine.step(2)
    engine.backend.cancel(first.id)
    third = engine.submit("other", **GREEDY)
    engine.run()

    assert (second.output_tokens, third.output_tokens) == (fresh(TWO), fresh("other"))
    engine.check_books()


def test_a_prompt_waits_for_a_prefix_that_is_being_computed(open_engine, fresh):
    prompts = [SYSTEM * 3 + ending for ending in ("one", "two", "three")]
    engine = open_engine("llama", "parallel:4", context_size=512, batch=32)
    jobs = [engine.submit(prompt, **GREEDY) for prompt in (*prompts, "nothing in common")]
    engine.step()
    assert [bool(engine.of(job, Started)) for job in jobs] == [True, False, False, True]
    engine.run()

    common = 1 + len(SYSTEM) * 3
    first, second, third, other = (job.num_cached for job in jobs)
    assert first == other == 0
    assert all(common - WORTH_WAITING < cached <= common for cached in (second, third))
    wanted = open_engine("llama", "parallel:1", context_size=512)
    for job, prompt in zip(jobs, prompts, strict=False):
        assert job.output_tokens == wanted.generate(prompt, **GREEDY).output_tokens


def test_a_prompt_does_not_wait_for_one_that_was_cancelled(open_engine):
    engine = open_engine("llama", "parallel:2", context_size=512, batch=16)
    first, second = (engine.submit(SYSTEM * 3 + ending, **GREEDY) for ending in ("one", "two"))
    engine.step(2)
    assert not engine.of(second, Started)
    done = engine.of(first, Progress)[-1].done
    engine.backend.cancel(first.id)
    engine.step()

    assert second.num_cached == done
    engine.run()
    assert engine.end(second)


def test_more_branches_stay_than_may_run_and_the_one_unused_for_longest_gives_way(open_engine):
    engine = open_engine("llama", "parallel:2", "cache_ram:0")
    for letter in "abcdea":
        engine.generate(letter * 80, **GREEDY)
        engine.check_books()
    engine.generate("f" * 80, **GREEDY)

    assert engine.generate("a" * 80, **GREEDY).num_cached == 80
    assert engine.generate("f" * 80, **GREEDY).num_cached == 80
    assert engine.generate("b" * 80, **GREEDY).num_cached == 1
    engine.check_books()


def test_running_sequences_take_all_cells_from_idle_ones(open_engine, fresh):
    engine = open_engine("llama", "parallel:2", "cache_ram:0")
    for letter in "abcdef":
        engine.generate(letter * 80, **GREEDY)
    jobs = [engine.submit(letter * 80, ignore_eos=True) for letter in "yz"]
    engine.run()

    assert [len(job.output_tokens) for job in jobs] == [256 - 81] * 2
    assert jobs[1].output_tokens[:20] == fresh("z" * 80)
    engine.check_books()


def test_branches_share_their_cells(open_engine):
    engine = open_engine("llama", "parallel:4", batch=64)
    jobs = [engine.submit(SYSTEM + ending, **GREEDY) for ending in ("one?", "two?", "three")]
    engine.run()
    own = [len(job.prompt_tokens) + 19 - job.num_cached for job in jobs]

    assert engine.count_cells() == sum(own)
    engine.check_books()


@pytest.mark.parametrize("model", ["llama", "mamba", "rwkv7", "gemma3"])
def test_equal_prompts_at_once_are_computed_once(open_engine, fresh, model):
    """As the choices of one request are."""
    engine = open_engine(model, "parallel:4", batch=32)
    jobs = [engine.submit(ONE, **GREEDY) for _ in range(4)]
    engine.run()

    assert jobs[0].num_cached == 0
    assert all(job.num_cached > len(ONE) - WORTH_WAITING for job in jobs[1:])
    assert [engine.end(job).usage.cached_tokens for job in jobs] == [job.num_cached for job in jobs]
    assert {tuple(job.output_tokens) for job in jobs} == {tuple(fresh(ONE, model))}
    engine.check_books()


@pytest.mark.parametrize("model", ["mamba", "gemma3", "rwkv7"])
def test_without_checkpoints_a_memory_that_forgets_is_computed_anew_when_the_past_changes(open_engine, fresh, model):
    engine = open_engine(model, "parallel:2", "ctx_checkpoints:0")
    first = engine.submit(ONE, **GREEDY)
    engine.step(4)
    beside = engine.submit(TWO, **GREEDY)
    engine.run()
    changed = engine.generate(ONE[:-1] + "?", **GREEDY)
    goes_on = changed.prompt_tokens + changed.output_tokens + [300]
    longer = engine.generate(goes_on, **GREEDY)

    assert beside.num_cached == 0
    assert longer.num_cached == len(goes_on) - 2
    assert [job.output_tokens for job in (first, beside, changed)] == [
        fresh(prompt, model) for prompt in (ONE, TWO, ONE[:-1] + "?")
    ]
    assert longer.output_tokens == fresh(goes_on, model)
    engine.check_books()


def test_a_window_keeps_a_change_within_reach(open_engine, fresh):
    """Cells outside the window are used again only when the cache runs out, so a short past is whole."""
    engine = open_engine("gemma3", "parallel:1")
    first = engine.generate("abcdefgh", **GREEDY)
    second = engine.generate("abcdeFGH", **GREEDY)

    assert (first.num_cached, second.num_cached) == (0, 6)
    assert second.output_tokens == fresh("abcdeFGH", "gemma3")


def test_a_window_that_has_moved_on_is_computed_anew(open_engine):
    long = "".join(chr(33 + i * i % 90) for i in range(600))
    options = "parallel:1", "ubatch:16", "ctx_checkpoints:0"
    engines = [open_engine("gemma3", *options, context_size=1024) for _ in range(2)]
    engines[0].generate(long, **GREEDY)
    jobs = [engine.generate(long[:300] + "~", **GREEDY) for engine in engines]

    assert jobs[0].num_cached == 0
    assert jobs[0].output_tokens == jobs[1].output_tokens


def test_a_recurrent_state_is_not_cut(open_engine):
    engine = open_engine("mamba", "parallel:1", "ctx_checkpoints:0")
    engine.generate("abcdefgh", **GREEDY)
    assert engine.generate("abcdefgh", **GREEDY).num_cached == 0


def test_text_streams_from_the_first_step_of_a_cached_prompt(open_engine):
    engine = open_engine("llama", "parallel:1", batch=16)
    engine.generate(ONE, **GREEDY)
    job = engine.submit(ONE, **GREEDY)
    engine.step()
    assert len(job.output_tokens) == 1 and not engine.of(job, Progress)
    engine.run()
    assert engine.of(job, Delta)
