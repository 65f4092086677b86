"""Whole UTF-8 and stop strings, however the bytes are cut."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.backends.output.text import TextStream

ALPHABET = "ab\né€🙂"
"""Few characters, so that stop strings overlap and occur often; one to four bytes each."""


def stream(pieces: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], str | None]:
    text = TextStream(stops)
    released = [text.feed(piece) for piece in pieces]
    return [*released, text.flush()], text.matched


def cut_at_first_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The specification in its plainest form: look at every beginning of the text."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if ended:
            longest = max(ended, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(st.text(ALPHABET, max_size=30), st.lists(st.text(ALPHABET, max_size=4), max_size=4), st.data())
def test_any_cutting_gives_the_whole_texts_answer(text, stops, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    released, matched = stream(pieces, tuple(stops))

    assert ("".join(released), matched) == cut_at_first_stop(text, tuple(stops))


@given(st.lists(st.binary(max_size=3), max_size=12))
def test_invalid_bytes_are_replaced_as_in_the_whole(pieces):
    released, _ = stream(pieces)
    whole = codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(pieces))  # without an unfinished end
    assert "".join(released) == whole


@given(st.text(ALPHABET, max_size=20), st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3))
def test_text_is_held_only_while_a_stop_string_is_possible(text, stops):
    fed = ""
    seen = ""
    out = TextStream(stops)
    for character in text:
        fed += character
        seen += out.feed(character.encode())
        if out.matched is not None:
            return
        held = fed[len(seen) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_a_split_character_leaves_whole():
    assert stream([b"a\xf0\x9f", b"\x99", b"\x82b"]) == (["a", "", "🙂b", ""], None)


def test_a_wrong_byte_does_not_hold_up_what_follows():
    assert stream([b"\xe2", b"(", b"ok"]) == (["", "\ufffd(", "ok", ""], None)


def test_an_unfinished_character_is_not_sent():
    assert stream([b"a", b"\xe2\x82"]) == (["a", "", ""], None)
    assert stream([b"<|i", b"\xf0\x9f"], ("<|im_end|>",)) == (["", "", "<|i"], None)


def test_a_stop_string_over_three_pieces():
    released, matched = stream([b"Hello <|im", b"_e", b"nd|> more", b"never"], ("<|im_end|>",))
    assert (released, matched) == (["Hello ", "", "", "", ""], "<|im_end|>")


def test_a_stop_string_that_did_not_come_is_released():
    assert stream([b"a<|im_e", b"at"], ("<|im_end|>",)) == (["a", "<|im_eat", ""], None)


@pytest.mark.parametrize(
    ("stops", "want"),
    [
        (("end of story", "end"), ("the ", "end")),
        (("he end", "end"), ("t", "he end")),
        (("of", "end"), ("the ", "end")),
        (("", "story"), ("the end of ", "story")),
    ],
)
def test_the_first_complete_stop_string_wins_and_the_longest_of_those(stops, want):
    released, matched = stream([b"the end of story"], stops)
    assert ("".join(released), matched) == want


def test_held_text_is_flushed_at_the_end():
    assert stream([b"a\n"], ("\n\n",)) == (["a", "\n"], None)
