"""What decisions ask of the engine: the log-probabilities of tokens by their ids, for many prompts behind one text."""

from __future__ import annotations

import pytest

from localai_flask.generation import Delta
from tests.support import gguf_models as models

TEXT = [models.BOS, *(models.character(char) for char in "all of the cats sat on a mat. " * 6)]
NAMED = (models.character("Y"), models.character("N"), models.character("A"))
ASKED = {"max_tokens": 1, "top_logprobs": 0, "logprob_token_ids": NAMED, "temperature": 1.0, "top_k": 1}


def question(number: int) -> list[int]:
    return [models.character(char) for char in f"is it {number:02}?"]


def told(engine, job) -> dict[int, float]:
    (entry,) = [entry for delta in engine.of(job, Delta) for entry in delta.logprobs]
    return {token: logprob for token, _, logprob in entry.top}


@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba"])
def test_tokens_asked_for_by_their_ids_are_told_as_the_best_ones_are(open_engine, name):
    engine = open_engine(name, "parallel:1")
    asked = engine.generate(TEXT, **ASKED)
    vocabulary = engine.backend.model.vocabulary.size
    whole = engine.generate(TEXT, **{**ASKED, "logprob_token_ids": (), "top_logprobs": vocabulary})
    expected = told(engine, whole)
    assert len(expected) == vocabulary
    assert told(engine, asked) == pytest.approx({token: expected[token] for token in NAMED}, abs=0.02)


def test_the_common_text_is_computed_once_and_many_questions_in_one_batch(open_engine, monkeypatch):
    engine = open_engine("llama", "parallel:8")
    decode, sizes = engine.backend.model.decode, []

    def counted(batch, **how):
        sizes.append(batch.size)
        return decode(batch, **how)

    monkeypatch.setattr(engine.backend.model, "decode", counted)
    jobs = [engine.submit([*TEXT, *question(number)], **ASKED) for number in range(64)]
    engine.run()

    tail, one = len(question(0)), len(TEXT) + len(question(0))
    assert sum(sizes) <= 1.5 * one + 64 * tail
    assert sum(job.usage.prompt_tokens - job.usage.cached_tokens for job in jobs) == sum(sizes)
    assert len(sizes) <= 64 // 8 + 6, "the questions are not computed together"
    alone = engine.generate([*TEXT, *question(63)], **ASKED, cache_prompt=False)
    assert told(engine, jobs[63]) == pytest.approx(told(engine, alone), abs=0.02)
    engine.check_books()
