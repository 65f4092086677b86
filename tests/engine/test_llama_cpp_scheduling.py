"""Many jobs in one batch: equal to each alone, in order, interruptible at every stage, and without leaks."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localai_flask.backends.llama_cpp.scheduling.pace import FIRST_CHUNK
from localai_flask.generation import Delta, Finished, FinishReason, Progress, Started

PROMPTS = ["a", "bc", "the quick brown fox", "x" * 70, "<|im_start|>user", "12", "é€😀", "~" * 33]


def alone(open_engine, prompts, flash_attention="", **sampling):
    engine = open_engine("llama", "parallel:1", "cache_reuse:0", flash_attention=flash_attention)
    return [engine.generate(prompt, **sampling).output_tokens for prompt in prompts]


@pytest.mark.parametrize("attention", ["on", "off"])
@pytest.mark.parametrize("batch", [8, 64, 512])
def test_eight_prompts_at_once_get_what_each_gets_alone(open_engine, batch, attention):
    engine = open_engine("llama", "parallel:8", batch=batch, flash_attention=attention)
    sampling = {"max_tokens": 40, "ignore_eos": True}
    jobs = [engine.submit(prompt, **sampling) for prompt in PROMPTS]
    engine.run()

    assert [job.output_tokens for job in jobs] == alone(open_engine, PROMPTS, attention, **sampling)
    engine.check_books()


@pytest.mark.parametrize("model", ["gemma3", "mamba", "rwkv7"])
def test_other_kinds_of_memory_batch_too(open_engine, model):
    sampling = {"max_tokens": 40, "ignore_eos": True}
    engine = open_engine(model, "parallel:4")
    jobs = [engine.submit(prompt, **sampling) for prompt in PROMPTS]
    engine.run()
    single = open_engine(model, "parallel:1")
    assert [job.output_tokens for job in jobs] == [single.generate(p, **sampling).output_tokens for p in PROMPTS]


def test_jobs_start_in_order_and_the_rest_wait(open_engine):
    engine = open_engine("llama", "parallel:2")
    jobs = [engine.submit(chr(97 + i), max_tokens=2 + i, ignore_eos=True) for i in range(5)]
    started: list[int] = []
    while not engine.backend.is_idle:
        engine.step()
        running, waiting = engine.backend.scheduler.running, engine.backend.waiting
        assert running <= 2 and (running == 2 or waiting == 0 or engine.of(jobs[0], Finished))
        started += [job.id for job in jobs if engine.of(job, Started) and job.id not in started]

    assert started == [job.id for job in jobs]
    assert engine.backend.scheduler.running == 0


def test_without_continuous_batching_the_next_wait_for_all_that_run(open_engine):
    engine = open_engine("llama", "parallel:2", "cont_batching:false")
    short, long = (engine.submit("a", max_tokens=count, ignore_eos=True) for count in (2, 9))
    engine.step()
    third, fourth = (engine.submit("b", max_tokens=3, ignore_eos=True) for _ in range(2))
    while not engine.of(long, Finished):
        assert not engine.of(third, Started)
        engine.step()
    assert engine.of(short, Finished)
    engine.run()
    assert engine.text(third) == engine.text(fourth) != ""


def test_a_long_prompt_goes_in_chunks_beside_a_stream(open_engine):
    engine = open_engine("llama", "parallel:2", context_size=1024, batch=50)
    stream = engine.submit("a", max_tokens=400, ignore_eos=True)
    engine.step()
    long = engine.submit("b" * 600, max_tokens=5, ignore_eos=True)
    while not engine.of(long, Delta):
        said = len(stream.output_tokens)
        engine.step()
        assert len(stream.output_tokens) == said + 1
    engine.run()

    steps = engine.of(long, Progress)
    assert len(steps) >= 12
    assert [p.done for p in steps] == sorted({p.done for p in steps}) and steps[-1].done < 601
    assert {p.total for p in steps} == {601}
    wanted = open_engine("llama", context_size=1024).generate("b" * 600, max_tokens=5, ignore_eos=True)
    assert long.output_tokens == wanted.output_tokens


def test_short_prompts_pass_a_long_one_which_goes_on(open_engine):
    engine = open_engine("llama", "parallel:4", context_size=4096, batch=16)
    engine.generate("cached" * 40, max_tokens=1)
    long = engine.submit("b" * 2000, max_tokens=2, ignore_eos=True)
    engine.step(3)
    cached, short = (engine.submit(text, max_tokens=2, ignore_eos=True) for text in ("cached" * 40 + "!", "c" * 60))
    equal = engine.submit("d" * 1900, max_tokens=2, ignore_eos=True)
    begun = engine.of(long, Progress)[-1].done
    steps = 0
    while not engine.of(short, Finished):
        engine.step()
        steps += 1
    assert engine.of(cached, Finished) and not engine.of(long, Delta)
    assert engine.of(long, Progress)[-1].done >= begun + 8 * (steps - 2)
    assert not engine.of(equal, Progress)
    engine.run()
    prompts = ["b" * 2000, "cached" * 40 + "!", "c" * 60]
    wanted = [open_engine("llama", context_size=4096).generate(p, max_tokens=2, ignore_eos=True) for p in prompts]
    assert [job.output_tokens for job in (long, cached, short)] == [job.output_tokens for job in wanted]


def test_the_pace_bounds_the_chunks(open_engine):
    engine = open_engine("llama", context_size=1024)
    job = engine.submit("b" * 600, max_tokens=1)
    engine.step()
    assert [progress.done for progress in engine.of(job, Progress)] == [FIRST_CHUNK]


def test_cancelling_at_each_stage_frees_the_slot_and_changes_nobody_else(open_engine):
    sampling = {"max_tokens": 30, "ignore_eos": True}
    engine = open_engine("llama", "parallel:3", context_size=512, batch=16)
    kept = [engine.submit("kept", **sampling), engine.submit("kept too", **sampling)]
    decoding = engine.submit("gone", **sampling)
    engine.step(4)
    assert len(decoding.output_tokens) > 1
    engine.backend.cancel(decoding.id)
    prefilling, queued = engine.submit("p" * 300, **sampling), engine.submit("q", **sampling)
    engine.step(2)
    assert engine.of(prefilling, Progress) and not engine.of(queued, Started)
    for job in (queued, prefilling):
        engine.backend.cancel(job.id)
    heard = {job.id: len(engine.replies[job.id]) for job in (decoding, prefilling, queued)}
    engine.check_books()
    assert (engine.backend.scheduler.running, engine.backend.waiting) == (2, 0)
    engine.run()

    assert {job.id: len(engine.replies[job.id]) for job in (decoding, prefilling, queued)} == heard
    assert [job.output_tokens for job in kept] == alone(open_engine, ["kept", "kept too"], **sampling)
    assert not any(slot.in_use for slot in engine.backend.cache.slots)


def test_cancelling_what_is_over_or_unknown_does_nothing(open_engine):
    engine = open_engine("llama")
    job = engine.generate("a", max_tokens=1)
    engine.backend.cancel(job.id)
    engine.backend.cancel(4711)
    assert engine.backend.step() == []


ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 120), st.integers(0, 3), st.integers(0, 40)),
    st.tuples(st.just("cancel"), st.integers(0, 200)),
    st.tuples(st.just("step"), st.integers(1, 12)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, max_size=40))
@pytest.mark.parametrize("model", ["llama", "gemma3", "mamba", "rwkv7", "shifting"])
def test_any_order_of_events_leaves_the_cache_consistent(shared_engines, model, actions):
    engine = shared_engines(model)
    jobs = []
    for action in actions:
        match action:
            case ("submit", length, family, max_tokens):
                prompt = "abcd"[family] * (length // 2) + "e" * (length - length // 2)
                jobs.append(engine.submit(prompt, max_tokens=max_tokens, temperature=1.0, keep_s=100 * (length % 3)))
            case ("cancel", index) if jobs:
                engine.backend.cancel(jobs[index % len(jobs)].id)
            case ("step", times):
                engine.step(times)
        engine.check_books()
    for job in jobs[::2]:
        engine.backend.cancel(job.id)
    engine.run()
    engine.check_books()

    assert engine.backend.scheduler.running == 0
    assert not any(slot.in_use for slot in engine.backend.cache.slots)
    full = [engine.submit(chr(65 + i) * 50, ignore_eos=True) for i in range(4)]
    engine.run()
    assert [engine.end(job).reason for job in full] == [FinishReason.CONTEXT] * 4


@pytest.fixture(scope="module")
def shared_engines(gguf):
    """Engines of four slots that live as long as this file: what one example leaves behind, the next ones find."""
    from tests.engine.conftest import load_engine

    engines = {}

    def get(model):
        if model not in engines:
            options = ["parallel:4", "cache_ram:1", "checkpoint_min_step:16", "ctx_checkpoints:3"]
            if model == "shifting":
                options += ["context_shift", "cache_reuse:4"]
            path = gguf["llama" if model == "shifting" else model]
            engines[model] = load_engine(path, *options, context_size=128, batch=32)
        return engines[model]

    yield get
    for engine in engines.values():
        engine.backend.close()
