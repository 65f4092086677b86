"""Tokens that need no choice: a form's forced ones, and the end of thinking; and the counts that deltas carry."""

from __future__ import annotations

import json

import pytest

from localai_flask.backends.output.thinking import ThinkingWatch
from localai_flask.generation import Constraint, Delta, FinishReason, ThinkingBudget
from tests.support import gguf_models as models

COMPACT = {"whitespace_flexible": False}
"""Where white space may stand, little is forced."""
FIXED = {"x-guidance": COMPACT, "const": {"a fixed name": "and a fixed value", "n": [1, 2, 3]}}
CHOICE = {
    "x-guidance": COMPACT,
    "type": "object",
    "properties": {"choice": {"enum": ["left", "right"]}, "flag": {"type": "boolean"}},
    "required": ["choice", "flag"],
    "additionalProperties": False,
}
BUDGET = ThinkingBudget(5, "<t>", "</t>", is_open=True)


def schema(value: object) -> Constraint:
    return Constraint("json_schema", json.dumps(value), "response_format")


def steps_of(engine, job) -> int:
    steps = 0
    while not engine.backend.is_idle:
        engine.step()
        steps += 1
    return steps


def test_forced_tokens_are_fed_without_sampling(open_engine):
    engine = open_engine("llama")
    job = engine.submit("a", constraint=schema(FIXED))
    steps = steps_of(engine, job)

    assert json.loads(engine.text(job)) == FIXED["const"]
    assert engine.end(job).usage.completion_tokens == len(job.output_tokens) > 40
    assert steps < 5
    engine.check_books()


def test_forced_tokens_change_no_text(open_engine):
    engine = open_engine("llama", "parallel:4")
    fast = [engine.submit(prompt, constraint=schema(CHOICE)) for prompt in "abcd"]
    engine.run()
    slow = [engine.submit(prompt, constraint=schema(CHOICE), top_logprobs=1) for prompt in "abcd"]
    engine.run()

    assert [engine.text(job) for job in fast] == [engine.text(job) for job in slow]
    for job in slow:
        entries = [entry for delta in engine.of(job, Delta) for entry in delta.logprobs]
        assert [entry.id for entry in entries] == job.output_tokens
        assert all(entry.logprob < 0 for entry in entries)
    assert len({job.output_tokens[0] for job in slow}) == 1
    assert len({engine.of(job, Delta)[0].logprobs[0].logprob for job in slow}) == 4


@pytest.mark.usefixtures("hardly_repeatable")
def test_what_is_cached_after_forced_tokens_is_what_was_said(open_engine):
    engine = open_engine("llama", "parallel:1")
    first = engine.generate("a", constraint=schema(CHOICE), max_tokens=12)
    engine.check_books()
    again = [*first.prompt_tokens, *first.output_tokens]
    second = engine.generate(again, max_tokens=8, ignore_eos=True)
    fresh = open_engine("llama", "parallel:1").generate(again, max_tokens=8, ignore_eos=True)

    assert second.num_cached == len(again) - 1
    assert second.output_tokens == fresh.output_tokens


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_limits_and_stop_strings_cut_forced_text(open_engine, count):
    engine = open_engine("llama")
    cut = engine.generate("a", constraint=schema(FIXED), max_tokens=count)
    stopped = engine.generate("a", constraint=schema(FIXED), stop=("name",))

    assert engine.end(cut).reason is FinishReason.MAX_TOKENS
    assert engine.end(cut).usage.completion_tokens == count == len(engine.text(cut))
    assert engine.end(stopped).reason is FinishReason.STOP_SEQUENCE
    assert engine.text(stopped) == '{"a fixed '


def test_a_small_batch_takes_forced_text_in_parts(open_engine):
    engine = open_engine("llama", "parallel:2", batch=3)
    jobs = [engine.submit(prompt, constraint=schema(FIXED)) for prompt in "ab"]
    engine.step(6)
    engine.backend.cancel(jobs[0].id)
    engine.run()
    assert json.loads(engine.text(jobs[1])) == FIXED["const"]
    engine.check_books()


@pytest.mark.parametrize("held", [(), ("eé€!",)])
def test_deltas_count_the_tokens_behind_their_text(open_engine, held):
    engine = open_engine("chain")
    job = engine.generate(">", stop=held)
    deltas = engine.of(job, Delta)
    assert all(delta.tokens > 0 for delta in deltas)
    assert sum(delta.tokens for delta in deltas) == len(job.output_tokens) - 1  # the end has no text


def test_thinking_ends_when_its_budget_is_used_up(open_engine):
    engine = open_engine("llama")
    free = engine.generate("abc", max_tokens=20, ignore_eos=True)
    job = engine.generate("abc", max_tokens=20, ignore_eos=True, thinking=BUDGET)
    none = engine.generate("abc", max_tokens=6, ignore_eos=True, thinking=ThinkingBudget(0, "", "</t>", True))
    ample = engine.generate("abc", max_tokens=20, ignore_eos=True, thinking=ThinkingBudget(50, "<t>", "</t>", True))
    unasked = engine.generate("abc", max_tokens=20, ignore_eos=True, thinking=ThinkingBudget(0, "<t>", "</t>"))

    end = [models.character(char) for char in "</t>"]
    assert job.output_tokens[:9] == [*free.output_tokens[:5], *end]
    assert none.output_tokens[:4] == end and len(none.output_tokens) == 6
    assert ample.output_tokens == unasked.output_tokens == free.output_tokens


@pytest.mark.parametrize("options", [(), ("spec_type:ngram-simple", "spec_ngram_size_n:1")])
def test_thinking_ends_when_that_is_said(open_engine, options):
    engine = open_engine("llama", *options)
    ample = ThinkingBudget(500, "<t>", "</t>", is_open=True)
    free = engine.generate("abc", max_tokens=60, ignore_eos=True)
    job = engine.submit("abc", max_tokens=60, ignore_eos=True, thinking=ample)
    while len(job.output_tokens) < 7:
        engine.step()
    before, job.ends_thinking = len(job.output_tokens), True
    engine.run()
    end = [models.character(char) for char in "</t>"]
    said = next(n for n in range(len(job.output_tokens)) if job.output_tokens[n : n + len(end)] == end)
    assert before <= said <= before + 10 and job.output_tokens[:said] == free.output_tokens[:said]
    assert len(job.output_tokens) == 60


@pytest.mark.parametrize("end", ["</t>", "\n</t>\n\n"])
def test_a_form_behind_thinking_is_armed_by_its_forced_end(open_engine, end):
    engine = open_engine("llama")
    form = Constraint("json_schema", json.dumps(CHOICE), "response_format", trigger="</t>")
    budget = ThinkingBudget(5, "<t>", end, is_open=True)
    job = engine.generate("abc", max_tokens=60, constraint=form, thinking=budget, ignore_eos=True)
    answer = engine.text(job).partition("</t>")[2]
    assert json.JSONDecoder().raw_decode(answer)[0]["choice"] in ("left", "right")


def test_every_token_has_its_log_probability_when_thinking_is_ended(open_engine):
    engine = open_engine("llama")
    job = engine.generate("abc", max_tokens=12, ignore_eos=True, thinking=BUDGET, top_logprobs=0)
    plain = engine.generate("abc", max_tokens=12, ignore_eos=True, thinking=BUDGET)
    entries = [entry for delta in engine.of(job, Delta) for entry in delta.logprobs]
    assert [entry.id for entry in entries] == job.output_tokens == plain.output_tokens


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        ("abc", b"</t>"),  # still thinking
        ("ab</", b"t>"),  # about to end by itself
        ("ab</t>c", b""),  # has ended
        ("ab</t><t>c", b"</t>"),  # and has begun again
    ],
)
def test_the_end_is_written_only_where_it_is_missing(said, rest):
    watch = ThinkingWatch(ThinkingBudget(2, "<t>", "</t>", is_open=True))
    for char in said:
        watch.feed(char.encode())
    assert watch.rest() == rest


def test_thinking_counts_from_behind_its_beginning():
    watch = ThinkingWatch(ThinkingBudget(2, "<t>", "\n</t>\n\n"))
    for piece in (b"a", b"b", b"<", b"t>", b"x"):
        watch.feed(piece)
        assert watch.rest() == b""
    watch.feed(b"y")
    assert watch.rest() == b"\n</t>\n\n"
    watch.feed(b"</t>")
    assert watch.rest() == b""


def test_thinking_ends_at_once_where_that_is_said():
    told = []
    watch = ThinkingWatch(ThinkingBudget(99, "<t>", "</t>", message="Well. "), lambda: bool(told))
    watch.feed(b"<t>")
    watch.feed(b"so")
    assert watch.rest() == b""
    told.append(True)
    assert watch.rest() == b"Well. </t>"
    watch.feed(b"</t>")
    assert watch.rest() == b""


def test_an_empty_trigger_is_none(open_engine):
    engine = open_engine("llama")
    assert engine.text(engine.generate("a", constraint=Constraint("regex", "a{3}", trigger=""))) == "aaa"
