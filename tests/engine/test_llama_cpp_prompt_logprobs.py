"""Log-probabilities of a prompt's own tokens, against a direct computation with the library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from localai_flask.generation import Delta, PromptLogprobs, TokenLogprob
from tests.support import gguf_models as models

TOKENS = [models.BOS, *(models.character(char) for char in "the cat sat on the mat and looked at the other cat")]


def entries(engine, job) -> list[TokenLogprob]:
    return [entry for reply in engine.of(job, PromptLogprobs) for entry in reply.tokens]


def direct(backend, tokens: list[int]) -> np.ndarray:
    """Decode token by token in an empty cache; give the log-probabilities behind each, shape (tokens, vocabulary)."""
    from localai_flask.backends.llama_cpp.model.library import lib
    from localai_flask.backends.llama_cpp.scheduling.batch import Batch

    model, rows = backend.model, []
    batch = Batch(1)
    lib.llama_memory_clear(model.memory, True)
    for position, token in enumerate(tokens):
        batch.clear()
        batch.add_tokens([token], [position], [0])
        model.decode(batch, with_prompt=False)
        row = model.logits.row(0).astype(np.float64)
        rows.append(row - row.max() - math.log(np.exp(row - row.max()).sum()))
    lib.llama_memory_clear(model.memory, True)
    return np.array(rows)


@pytest.mark.parametrize("room", [1 << 20, 10_000, 0])
@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba"])
def test_each_token_is_judged_by_those_before_it(open_engine, monkeypatch, name, room):
    from localai_flask.backends.llama_cpp.model import model

    monkeypatch.setattr(model, "LOGITS_BYTES", room)
    engine = open_engine(name, "parallel:1")
    expected = direct(engine.backend, TOKENS)
    job = engine.generate(TOKENS, prompt_logprobs=True, top_logprobs=3, max_tokens=2)
    first, *rest = entries(engine, job)

    assert [first.id, *(entry.id for entry in rest)] == TOKENS
    assert (first.logprob, first.top) == (0.0, [])
    for position, entry in enumerate(rest):
        row = expected[position]
        assert entry.logprob == pytest.approx(row[entry.id], abs=0.02)
        assert [logprob for _, _, logprob in entry.top] == pytest.approx(np.sort(row)[:-4:-1].tolist(), abs=0.02)
    assert len([entry for delta in engine.of(job, Delta) for entry in delta.logprobs]) == 2


def test_the_cache_is_neither_used_nor_spoilt(open_engine):
    engine = open_engine("llama", flash_attention="off")
    plain = engine.generate(TOKENS, max_tokens=5)
    once = engine.generate(TOKENS, prompt_logprobs=True, top_logprobs=0, max_tokens=5)
    again = engine.generate(TOKENS, max_tokens=5)

    assert engine.end(once).usage.cached_tokens == 0
    assert len(entries(engine, once)) == len(TOKENS)
    assert engine.end(again).usage.cached_tokens > 0
    assert plain.output_tokens == once.output_tokens == again.output_tokens
    engine.check_books()


def test_beside_others_and_each_other_they_are_the_same(open_engine, monkeypatch):
    from localai_flask.backends.llama_cpp.model import model

    monkeypatch.setattr(model, "LOGITS_BYTES", 10_000)
    engine = open_engine("llama", "parallel:4")
    alone = entries(engine, engine.generate(TOKENS, prompt_logprobs=True, top_logprobs=0, max_tokens=1))
    others = [engine.submit("a stream", max_tokens=60, ignore_eos=True) for _ in range(2)]
    engine.step(3)
    jobs = [engine.submit(TOKENS, prompt_logprobs=True, top_logprobs=0, max_tokens=1) for _ in range(3)]
    engine.run()

    for job in jobs:
        assert [entry.logprob for entry in entries(engine, job)] == pytest.approx(
            [entry.logprob for entry in alone], abs=0.02
        )
    assert all(engine.end(other).usage.completion_tokens == 60 for other in others)


def test_a_prompt_of_one_token_has_one_entry_without_a_judgement(open_engine):
    engine = open_engine("llama")
    job = engine.generate([models.character("a")], prompt_logprobs=True, top_logprobs=5, max_tokens=1)
    assert entries(engine, job) == [TokenLogprob(models.character("a"), b"a", 0.0)]
