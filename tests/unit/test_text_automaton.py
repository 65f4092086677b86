"""Many texts looked for at once, however the text is cut, and what engines ask of a sequence beside its form."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.backends.output.rules import BannedTexts, OutputRules, RepeatedSequences
from localai_flask.backends.output.text import TextStream
from localai_flask.backends.output.text_automaton import START, TextAutomaton
from localai_flask.sampling_params import SamplingParams

LETTERS = "abé"


@given(st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=6), st.text(LETTERS, max_size=30))
def test_a_state_stands_for_the_longest_end_that_something_begins_with(texts: list[str], read: str) -> None:
    automaton, state = TextAutomaton(texts), START
    for end in range(1, len(read) + 1):
        state = automaton.step(state, read[end - 1])
        ends = [read[begin:end] for begin in range(end)]
        assert automaton.depths[state] == max(
            (len(each) for each in ends if any(t.startswith(each) for t in texts)), default=0
        )
        assert automaton.found[state] == max((each for each in ends if each in texts), key=len, default=None)


def test_many_long_stop_strings_cost_no_more_than_one() -> None:
    def seconds(stops: tuple[str, ...]) -> float:
        begun = time.perf_counter()
        text = TextStream(stops)
        for _ in range(20_000):
            text.feed(b"aaab")
        return time.perf_counter() - begun

    many = tuple(f"{'a' * (index % 60)}c{index}" for index in range(1000))
    assert seconds(many) < 10 * seconds(("aac",)) + 0.5  # a search for each of them would take a hundred times as long


def test_a_stop_string_may_stay_in_the_text() -> None:
    text = TextStream(("end", "the end"), keeps_stop=True)
    assert [text.feed(b"in th"), text.feed(b"e e"), text.feed(b"nd of")] == ["in ", "", "the end"]
    assert text.matched == "the end"
    assert text.flush() == ""


def test_a_banned_text_is_refused_at_its_last_piece_however_it_is_cut() -> None:
    banned = BannedTexts(["né e"], folds_case=False)
    for piece in (b"xn", b"\xc3", b"\xa9", b" "):
        assert banned.allows(piece)
        banned.accept(piece)
    assert not banned.allows(b"e")
    assert not banned.allows(b"every")
    assert banned.allows(b"E")
    assert not BannedTexts(["né e"], folds_case=True).allows("NÉ E".replace("É", "é").encode())


def test_a_repeated_sequence_is_known_from_the_prompt_on() -> None:
    repeats = RepeatedSequences(3, [1, 2, 3, 1])
    repeats.accept(2)
    assert set(repeats.completing()) == {3}
    assert set(RepeatedSequences(1, [4, 5]).completing()) == {4, 5}


def test_ends_wait_for_the_least_number_of_tokens() -> None:
    rules = OutputRules(SamplingParams(min_tokens=2, stop_token_ids=(9,)), [], {2}, lambda token: b"")
    assert set(rules.banned()) == {2, 9}
    rules.accept(5)
    assert set(rules.banned()) == {2, 9}
    rules.accept(5)
    assert rules.banned() == []


def test_who_asks_for_nothing_has_no_rules() -> None:
    assert OutputRules.of(SamplingParams(stop=("a",), allowed_token_ids=(3,)), [], {2}, lambda token: b"") is None


@pytest.mark.parametrize("field", ["bad_words", "banned_strings"])
def test_rules_know_what_is_banned(field: str) -> None:
    rules = OutputRules.of(SamplingParams(**{field: ("ab",)}), [], {2}, lambda token: bytes([token]))
    assert rules is not None
    rules.accept(ord("a"))
    assert rules.allows(ord("c"))
    assert not rules.allows(ord("b"))
