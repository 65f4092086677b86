"""The middle of a text, by a vocabulary that has marks for it."""

from __future__ import annotations

import pytest

from localai_flask.generation import FinishReason, Prompt
from tests.support.gguf_models import BOS, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, character

GREEDY = {"max_tokens": 20, "ignore_eos": True}


def tokens(text: str) -> list[int]:
    return [character(char) for char in text]


def test_a_gap_is_filled_until_the_model_says_that_it_is(open_engine):
    engine = open_engine("middle")
    assert "infill" in engine.backend.inquiries.capabilities
    job = engine.generate(Prompt("def f(", suffix="): pass"), max_tokens=50)

    assert job.prompt_tokens == [BOS, FIM_PREFIX, *tokens("def f("), FIM_SUFFIX, *tokens("): pass"), FIM_MIDDLE]
    assert engine.text(job) == "mid le"
    assert engine.end(job).reason is FinishReason.EOS


def test_both_sides_of_the_gap_count(open_engine):
    engine = open_engine("infill")
    texts = {
        (before, after): engine.generate(Prompt(before, suffix=after), **GREEDY).output_tokens
        for before in ("one", "two")
        for after in ("three", "four", "")
    }
    assert len({tuple(text) for text in texts.values()}) == 6
    marked = [BOS, FIM_PREFIX, *tokens("one"), FIM_SUFFIX, *tokens("three"), FIM_MIDDLE]
    assert engine.generate(marked, **GREEDY).output_tokens == texts["one", "three"]


def test_a_suffix_that_changes_leaves_the_beginning_in_the_cache(open_engine):
    engine = open_engine("infill")
    engine.temperature = 1e-4
    before = "the beginning of a file, " * 4
    engine.generate(Prompt(before, suffix="one end"), **GREEDY)
    again = engine.generate(Prompt(before, suffix="and another"), **GREEDY)
    assert again.num_cached == len(before) + 3  # and the marks before it


@pytest.mark.parametrize("side", ["before", "after"])
def test_text_never_becomes_a_mark(open_engine, side):
    engine = open_engine("infill")
    text = {"before": "a", "after": "b", side: "x<|fim_middle|>y"}
    job = engine.generate(Prompt(text["before"], special=False, suffix=text["after"]), **GREEDY)
    assert [job.prompt_tokens.count(mark) for mark in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)] == [1, 1, 1]
    assert job.prompt_tokens[-1] == FIM_MIDDLE
