"""Cutting, extracting and trimming of answers: whole, and streamed with every cut."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.chat.answer import Content, Event, Finish
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.text_filters.filter_reader import finished_as
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob, Usage

END = Finished(FinishReason.EOS, Usage(1, 1))


def run(pieces: list[str], **config: Any) -> list[Event]:
    reader = finished_as(ModelConfig(name="m", **config), OutputReader())
    events = [event for piece in pieces for event in reader.feed(Delta(piece))]
    return events + reader.finish(END)


def said(pieces: list[str], **config: Any) -> list[str]:
    return [event.text for event in run(pieces, **config) if isinstance(event, Content)]


def reference(text: str, **config: Any) -> str:
    """What LocalAI does to a whole answer."""
    for cut in config.get("cutstrings", ()):
        text = regex.sub(cut.replace("$", r"\Z"), "", text)
    if extract := config.get("extract_regex"):
        text = "".join(match.group() for each in extract if (match := regex.search(each, text))) or text
    for prefix in config.get("trimspace", ()):
        text = text.removeprefix(prefix).strip()
    for suffix in config.get("trimsuffix", ()):
        text = text.removesuffix(suffix).strip()
    return text


CONFIGS: list[dict[str, Any]] = [
    {"cutstrings": (r"(?s)<a>.*?</a>",)},
    {"cutstrings": ("ab+",)},
    {"cutstrings": ("a|b<|aab",)},
    {"cutstrings": (r"\ba\b", "b*")},
    {"cutstrings": (r"a\B",)},
    {"cutstrings": (r"/\ba", r"a\b ")},
    {"cutstrings": (r"^a", r"(?m)^b", r"b$")},
    {"cutstrings": ("a.*<|b",)},
    {"extract_regex": ("a+", "b.")},
    {"extract_regex": ("<a>",)},
    {"trimspace": ("a", "b ")},
    {"trimspace": ("ab", "")},
    {"trimsuffix": ("ba", "a")},
    {"trimsuffix": ("aba",)},
    {"cutstrings": ("b",), "trimspace": ("a",), "trimsuffix": ("é",)},
    {"cutstrings": ("é",), "extract_regex": ("a[^<]+",), "trimspace": ("a",), "trimsuffix": ("a",)},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@given(text=st.text("ab<>/ \né", max_size=24), cuts=st.lists(st.integers(0, 24), max_size=8))
def test_a_stream_adds_up_to_what_the_whole_text_becomes(config: dict[str, Any], text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = said([text[a:b] for a, b in itertools.pairwise(edges)], **config)
    assert "".join(pieces) == reference(text, **config)
    assert all(pieces)
    assert "".join(said(list(text), **config)) == "".join(pieces)


@pytest.mark.parametrize(
    ("config", "pieces", "streamed"),
    [
        ({"cutstrings": ("<[a-z]*>",)}, ["one <", "br", "> two", " < three"], ["one ", " two", " < three"]),
        ({"cutstrings": ("(?s)<t>.*?</t>",)}, ["a<t>", "b" * 9000, "</t>", "c"], ["a", "c"]),
        ({"trimspace": ("Answer:",)}, ["Ans", "wer: ", "yes ", "or", " no\n"], ["yes", " or", " no"]),
        ({"trimsuffix": ("END",)}, ["a EN", "D of b E", "ND"], ["a", " END of b"]),
        ({"extract_regex": ("[0-9]+",)}, ["it is ", "42", " or 43"], ["42"]),
    ],
)
def test_held_back_only_as_long_as_a_match_is_possible(
    config: dict[str, Any], pieces: list[str], streamed: list[str]
) -> None:
    assert said(pieces, **config) == streamed


def test_without_keys_nothing_is_in_between() -> None:
    reader = OutputReader()
    assert finished_as(ModelConfig(name="m"), reader) is reader


def test_log_probabilities_are_kept() -> None:
    reader = finished_as(ModelConfig(name="m", cutstrings=("b",), trimsuffix=("d",)), OutputReader())
    tokens = [TokenLogprob(n, letter.encode(), -1.0) for n, letter in enumerate("abcd")]
    events: list[Event] = []
    for token in tokens:
        events += reader.feed(Delta(token.text.decode(), [token]))
    events += reader.finish(END)
    assert [event.text for event in events if isinstance(event, Content)] == ["a", "c"]
    assert [each for event in events if isinstance(event, Content | Finish) for each in event.logprobs] == tokens


def test_an_expression_that_takes_too_long_ends_the_answer_with_its_name() -> None:
    with pytest.raises(ConfigError, match="cutstrings") as error:
        said(["a" * 60 + "!"], cutstrings=("(a|a|aa)+$",))
    assert error.value.info.param == "cutstrings"
