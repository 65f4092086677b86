"""Guessing ahead: it changes no token, whatever is guessed, and fewer steps are needed where the guesses are right."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import numpy as np
import pytest

from localai_flask.backends.llama_cpp.speculation import ngrams
from localai_flask.backends.llama_cpp.speculation.ngrams import HistoryLookup, PoolLookup
from localai_flask.generation import Constraint, Delta, Finished, FinishReason, ThinkingBudget
from tests.support import gguf_models as models

LOOKUPS = {
    "simple": ("spec_type:ngram-simple", "spec_ngram_size_n:2", "spec_ngram_size_m:12"),
    "k": ("spec_type:ngram-map-k", "spec_ngram_map_k_size_n:2", "spec_ngram_map_k_size_m:6"),
    "k4v": ("spec_type:ngram-map-k4v", "spec_ngram_map_k4v_size_n:1", "spec_ngram_map_k4v_size_m:6"),
    "mod": ("spec_type:ngram-mod", "spec_ngram_mod_n_match:2", "spec_ngram_mod_n_min:1", "spec_ngram_mod_n_max:9"),
    "two": ("spec_type:ngram-mod,ngram-simple", "spec_ngram_size_n:1"),
}
PROMPTS = ["a", "ab" * 20, "the cat and the dog and the cat", "xyz" * 9, "12341234123", "~"]
CHOICE = {"type": "array", "items": {"enum": ["left", "right"]}, "minItems": 3, "maxItems": 5}
SAMPLINGS = [
    {"max_tokens": 50, "ignore_eos": True},
    {"max_tokens": 50, "ignore_eos": True, "temperature": 0.9, "top_k": 1, "repeat_penalty": 1.5},
    {"max_tokens": 50, "stop": ("x", "e", "1")},
    {"max_tokens": 9, "top_logprobs": 2},
    {"max_tokens": 60, "constraint": Constraint("json_schema", json.dumps(CHOICE), "response_format")},
    {"max_tokens": 30, "ignore_eos": True, "thinking": ThinkingBudget(6, "<t>", "</t>", True)},
]


def outcomes(engine, **sampling) -> list[tuple]:
    jobs = [engine.submit(prompt, **sampling) for prompt in PROMPTS]
    engine.run()
    engine.check_books()
    ends = [engine.end(job) for job in jobs]
    for job, end in zip(jobs, ends, strict=True):
        assert 0 <= end.timings.accepted_tokens <= end.timings.draft_tokens
        deltas = engine.of(job, Delta)
        told = sum(delta.tokens for delta in deltas)
        # Tokens of what is not sent are not told: of a stop string, and of a character of up to four bytes that is cut.
        untold = len(job.output_tokens) - told
        assert 0 <= untold < 4 or end.reason in (FinishReason.STOP_SEQUENCE, FinishReason.EOS)
        entries = [entry.id for delta in deltas for entry in delta.logprobs]
        assert entries == (job.output_tokens if "top_logprobs" in sampling else [])
    return [(job.output_tokens, engine.text(job), end.reason) for job, end in zip(jobs, ends, strict=True)]


@pytest.fixture
def open_engine(open_engine):
    """Open engines without flash attention, whose 16-bit sums depend on where tokens lie in the cache."""
    return functools.partial(open_engine, flash_attention="off")


@pytest.fixture
def plain(open_engine):
    return open_engine("llama", "parallel:3")


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "hot", "stop", "logprobs", "form", "thinking"])
@pytest.mark.parametrize("way", [*LOOKUPS, "same", "other"])
def test_guessing_changes_nothing(open_engine, plain, gguf, tmp_path, way, sampling):
    if way in LOOKUPS:
        engine = open_engine("llama", "parallel:3", *LOOKUPS[way])
    else:
        draft = gguf["llama"] if way == "same" else models.random_llama(tmp_path / "draft.gguf", seed=5)
        engine = open_engine("llama", "parallel:3", draft_model=str(draft), n_draft=4)
    assert outcomes(engine, **sampling) == outcomes(plain, **sampling)


@pytest.mark.parametrize("batch", [4, 16])
def test_guesses_fit_beside_what_must_be_computed(open_engine, plain, batch):
    engine = open_engine("llama", "parallel:3", *LOOKUPS["simple"], batch=batch)
    assert outcomes(engine, **SAMPLINGS[0]) == outcomes(plain, **SAMPLINGS[0])


def test_right_guesses_leave_room_for_prompts(open_engine, gguf):
    loop = [models.character(char) for char in "abca"]
    gguf["loop"] = models.chain_model(gguf["llama"].parent / "loop.gguf", loop)
    engine = open_engine("loop", "parallel:2", *LOOKUPS["simple"], batch=6, context_size=1024)
    stream = engine.submit("abc" * 3, max_tokens=900)
    engine.step(20)
    late = engine.submit("cab" * 40, max_tokens=2)
    engine.step(60)

    assert engine.end(late) and not engine.of(stream, Finished)


def test_errors_and_sizes_of_both_models_are_told_apart(open_engine, caplog):
    with caplog.at_level("INFO"):
        engine = open_engine("llama", "parallel:2", draft_model="llama.gguf")
    model, draft = engine.backend.model, engine.backend._speculator._drafters[0].model
    assert draft.capture is model.capture
    assert draft.memory_bytes == model.memory_bytes
    sizes = [record.getMessage() for record in caplog.records if "of cache" in record.getMessage()]
    assert len(sizes) == 2 and sizes[0] == sizes[1]


def test_a_draft_model_that_is_right_saves_steps(open_engine):
    engine = open_engine("llama", "parallel:2", draft_model="llama.gguf", n_draft=5)
    jobs = [engine.submit(prompt, max_tokens=61, ignore_eos=True) for prompt in "ab"]
    steps = 0
    while not engine.backend.is_idle:
        engine.step()
        steps += 1
    timings = engine.end(jobs[0]).timings
    assert steps < 25
    assert 40 < 0.9 * timings.draft_tokens < timings.accepted_tokens <= timings.draft_tokens


def test_wrong_guesses_are_made_seldom(open_engine, tmp_path):
    other = models.random_llama(tmp_path / "draft.gguf", seed=5)
    engine = open_engine("llama", "parallel:1", draft_model=str(other), n_draft=8)
    job = engine.generate("a", max_tokens=200, ignore_eos=True)
    assert 0 < engine.end(job).timings.draft_tokens < 60


def test_cancelling_between_guesses_leaves_the_cache_in_order(open_engine, plain):
    engine = open_engine("llama", "parallel:2", draft_model="llama.gguf", n_draft=6)
    for steps in range(1, 8):
        job = engine.submit("abc", max_tokens=60, ignore_eos=True)
        engine.step(steps)
        engine.backend.cancel(job.id)
        engine.step()
        engine.check_books()
    assert outcomes(engine, **SAMPLINGS[0]) == outcomes(plain, **SAMPLINGS[0])


def test_the_context_ends_where_it_does_without_guesses(open_engine):
    engine = open_engine("llama", "parallel:1", draft_model="llama.gguf", n_draft=6, context_size=40)
    job = engine.generate("abc", ignore_eos=True)
    assert engine.end(job).reason is FinishReason.CONTEXT
    assert engine.end(job).usage.total_tokens == 40


@pytest.mark.parametrize(
    ("model", "options", "config", "message"),
    [
        ("llama", ("spec_type:draft-mtp",), {}, "draft-mtp has no effect.*own programs"),
        ("llama", ("spec_type:draft",), {}, "no draft model"),
        ("llama", (), {"draft_model": "none.gguf"}, "none.gguf does not exist"),
        ("mamba", ("spec_type:ngram-simple",), {}, "cannot go back"),
        ("gemma3", ("spec_type:ngram-simple",), {}, "swa_full:true"),
        ("llama", (), {"draft_model": "mamba.gguf"}, "draft model mamba.gguf keeps a state"),
    ],
)
def test_a_model_answers_without_the_guesses_that_cannot_be_had(open_engine, caplog, model, options, config, message):
    engine = open_engine(model, *options, **config)
    assert re.search(message, caplog.text)
    assert engine.end(engine.generate("abc", max_tokens=4)).usage.completion_tokens == 4


def test_fewer_guesses_than_are_asked_for_are_made_all_the_same(open_engine, caplog):
    open_engine("llama", "spec_type:ngram-simple", "spec_n_min:9", "spec_ngram_size_m:4")
    assert "spec_n_min:9 has no effect, as at most 4" in caplog.text


def test_another_vocabulary_is_no_help(open_engine, tmp_path, monkeypatch, caplog):
    tokens = list(models.TOKENS)
    tokens[models.character("x")] = (b"other", models.NORMAL)
    monkeypatch.setattr(models, "TOKENS", tokens)
    draft = models.random_llama(tmp_path / "draft.gguf")
    open_engine("llama", draft_model=str(draft))
    assert re.search(r"another vocabulary than llama.gguf .*'other', not 'x'", caplog.text)


def test_a_window_works_with_its_full_cache(open_engine):
    engine = open_engine("gemma3", "parallel:3", "swa_full:true", *LOOKUPS["simple"])
    assert outcomes(engine, **SAMPLINGS[0]) == outcomes(open_engine("gemma3", "parallel:3"), **SAMPLINGS[0])


def test_histories_are_looked_up():
    history = np.array([1, 2, 3, 9, 1, 2, 4, 8, 5, 1, 2], np.int32)
    assert HistoryLookup(2, 9).guess(history, 3) == [4, 8, 5]
    assert HistoryLookup(2, 9).guess(history, 9) == [4, 8, 5, 1, 2, 4, 8, 5, 1]
    assert HistoryLookup(2, 9, min_hits=3).guess(history, 3) == []
    assert HistoryLookup(3, 9).guess(history, 3) == []
    assert HistoryLookup(2, 9, votes=True).guess(history, 1) == []
    assert HistoryLookup(1, 9, votes=True).guess(history, 0) == HistoryLookup(12, 9).guess(history, 3) == []


def test_what_may_be_guessed_at_most_holds_for_looking_up_too(open_engine):
    engine = open_engine("llama", *LOOKUPS["two"], n_draft=2)
    assert [drafter.most for drafter in engine.backend._speculator._drafters] == [2, 2]


def test_a_pool_is_common_to_all_sequences(open_engine):
    engine = open_engine("llama", "parallel:1", *LOOKUPS["mod"])
    first = engine.generate("abcd", max_tokens=40, ignore_eos=True)
    second = engine.generate("abcd", max_tokens=40, ignore_eos=True)
    assert second.output_tokens == first.output_tokens
    assert engine.end(second).timings.accepted_tokens > engine.end(first).timings.accepted_tokens
    assert PoolLookup(2, 9, 1).most == 9


class Told:
    """A sequence of which nothing is known but its tokens."""

    def __init__(self, tokens: list[int]):
        self.tokens, self.draft = np.array(tokens, np.int32), []

    def known_tokens(self) -> np.ndarray:
        return self.tokens


def propose(pool: PoolLookup, sequence: Any, count: int = 3) -> list[int]:
    pool.propose({sequence: count})
    return sequence.draft


def test_the_pool_forgets_the_oldest_half_at_once(monkeypatch):
    monkeypatch.setattr(ngrams, "MOST_ENTRIES", 64)
    pool = PoolLookup(2, 9, 1)
    propose(pool, Told([1, 2, 3, 4, 5]))
    assert propose(pool, Told([1, 2])) == [3, 4, 5]
    propose(pool, Told(list(range(100, 140))))
    assert propose(pool, Told([1, 2])) == [3, 4, 5]
    propose(pool, Told(list(range(200, 240))))
    assert propose(pool, Told([1, 2])) == []
    assert propose(pool, Told([210, 211])) == [212, 213, 214]
    assert len(pool._young) + len(pool._old) <= 64


def test_the_pool_learns_a_long_prompt_in_parts(monkeypatch):
    monkeypatch.setattr(ngrams, "MOST_LEARNED", 10)
    pool = PoolLookup(2, 9, 1)
    long = Told(list(range(30)))
    propose(pool, long)
    assert propose(pool, Told([5, 6])) == [7, 8, 9]
    assert propose(pool, Told([20, 21])) == []
    propose(pool, long)
    propose(pool, long)
    assert propose(pool, Told([20, 21])) == [22, 23, 24]


@pytest.fixture
def drafting(open_engine, monkeypatch):
    """Return an engine with a draft model, and the sizes of that one's batches."""
    engine = open_engine("llama", "parallel:3", draft_model="llama.gguf", n_draft=3)
    draft = engine.backend._speculator._drafters[0]
    sizes, decode = [], draft.model.decode

    def counted(batch, *, with_prompt):
        sizes.append(batch.size)
        decode(batch, with_prompt=with_prompt)

    monkeypatch.setattr(draft.model, "decode", counted)
    return engine, draft, sizes


def test_choices_share_what_the_draft_model_has_read(drafting):
    engine, _, sizes = drafting
    jobs = [engine.submit("the same prompt " * 10, max_tokens=30, ignore_eos=True) for _ in range(3)]
    engine.run()
    assert len({engine.text(job) for job in jobs}) == 1
    assert all(engine.end(job).timings.accepted_tokens > 0 for job in jobs)
    assert sum(size for size in sizes if size > 3 * 3) < 2 * 160


def test_a_draft_model_catches_up_at_the_pace_of_the_streams(drafting):
    engine, draft, sizes = drafting
    draft._pace.observe = lambda *_: None
    draft._pace._token_s, draft._pace._decode_s = 0.01, {1: 0.05}
    job = engine.submit("x" * 200, max_tokens=40, ignore_eos=True)
    engine.run()
    assert 10 < max(sizes) <= 3 * 0.05 / 0.01 + 1
    assert engine.end(job).timings.accepted_tokens > 0
