"""What a request forbids or demands of the tokens themselves, on a tiny model of llama.cpp's."""

from __future__ import annotations

from itertools import pairwise

import pytest

from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint, Finished, FinishReason

pytest.importorskip("llama_cpp")
PROMPT = "The quick brown fox"
LENGTH = {"max_tokens": 40, "ignore_eos": True}


@pytest.fixture
def engine(open_engine):
    return open_engine("llama")


@pytest.fixture
def free(engine):
    """What the model says when nothing is forbidden."""
    return engine.generate(PROMPT, **LENGTH)


def middle_of(text: str) -> str:
    """Return some letters of a text that begin there for the first time."""
    return next(
        text[at : at + 3]
        for at in range(8, len(text))
        if text.find(text[at : at + 3]) == at and text[at : at + 3].isascii()
    )


@pytest.mark.parametrize("field", ["bad_words", "banned_strings"])
def test_a_banned_text_never_comes(engine, free, field):
    said = engine.text(free)
    word = middle_of(said)
    asked = word if field == "bad_words" else word.swapcase()
    without = engine.text(engine.generate(PROMPT, **LENGTH, **{field: (asked,)}))
    assert word not in without
    begin = said.index(word)
    assert without[:begin] == said[:begin]
    if field == "bad_words" and word.swapcase() != word:
        assert engine.text(engine.generate(PROMPT, **LENGTH, bad_words=(word.swapcase(),))) == said


def test_a_token_may_end_the_answer(engine, free):
    tokens = free.output_tokens
    piece = engine.backend.model.vocabulary.piece
    at = next(at for at in range(5, 40) if tokens.index(tokens[at]) == at and piece(tokens[at]).isalpha())
    job = engine.generate(PROMPT, **LENGTH, stop_token_ids=(tokens[at],))
    assert job.output_tokens == tokens[: at + 1]
    assert engine.end(job).reason == FinishReason.EOS
    kept = engine.generate(PROMPT, **LENGTH, stop_token_ids=(tokens[at],), include_stop_str_in_output=True)
    assert engine.text(kept).startswith(engine.text(job))
    assert len(engine.text(kept)) > len(engine.text(job))


def test_a_stop_string_may_stay(engine, free):
    said = engine.text(free)
    word = middle_of(said)
    job = engine.generate(PROMPT, **LENGTH, stop=(word,), include_stop_str_in_output=True)
    assert engine.text(job) == said[: said.index(word) + len(word)]
    assert engine.end(job).stop_sequence == word


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_allowed_tokens_come(engine, temperature):
    allowed = tuple(range(100, 110))
    job = engine.generate(PROMPT, max_tokens=30, temperature=temperature, allowed_token_ids=allowed)
    assert len(job.output_tokens) == 30
    assert set(job.output_tokens) <= set(allowed)


def test_no_sequence_comes_twice(engine):
    job = engine.generate("a b a b a b", max_tokens=100, ignore_eos=True)
    pairs = list(pairwise([*job.prompt_tokens, *job.output_tokens]))
    assert len(set(pairs)) < len(pairs)
    job = engine.generate("a b a b a b", max_tokens=100, ignore_eos=True, no_repeat_ngram_size=2)
    seen = set(pairwise(job.prompt_tokens))
    for pair in pairwise([job.prompt_tokens[-1], *job.output_tokens]):
        assert pair not in seen
        seen.add(pair)


def test_an_answer_has_its_least_length(engine, free):
    end = free.output_tokens[4]
    short = engine.generate(PROMPT, **LENGTH, stop_token_ids=(end,))
    assert len(short.output_tokens) <= 5
    longer = engine.generate(PROMPT, **LENGTH, stop_token_ids=(end,), min_tokens=20)
    assert len(longer.output_tokens) > 20 or engine.end(longer).reason == FinishReason.MAX_TOKENS
    assert end not in longer.output_tokens[:20]


def test_an_answer_is_cut_when_its_time_is_over(engine):
    job = engine.generate(PROMPT, ignore_eos=True, t_max_predict_ms=1)
    assert engine.end(job).reason == FinishReason.MAX_TOKENS
    assert len(job.output_tokens) < 200
    assert engine.end(engine.generate(PROMPT, ignore_eos=True)).reason == FinishReason.CONTEXT


def test_a_form_and_what_is_forbidden_hold_together(engine):
    form = Constraint("regex", "[ab]{12}")
    job = engine.generate(PROMPT, max_tokens=40, constraint=form, bad_words=("aa", "bb"))
    assert engine.text(job) in ("ab" * 6, "ba" * 6)


def test_what_leaves_nothing_is_refused(engine):
    job = engine.generate(PROMPT, max_tokens=40, constraint=Constraint("regex", "aaaa"), bad_words=("aa",))
    (*_, last) = engine.replies[job.id]
    assert not isinstance(last, Finished)
    assert "leaves no token" in last.error.message
    assert engine.end(engine.generate(PROMPT, max_tokens=3)).reason == FinishReason.MAX_TOKENS


@pytest.mark.parametrize("field", ["stop_token_ids", "allowed_token_ids"])
def test_ids_beyond_the_vocabulary_are_refused(engine, field):
    with pytest.raises(InvalidRequest, match=f"`{field}` names token 999999"):
        engine.submit(PROMPT, **{field: (999_999,)})
