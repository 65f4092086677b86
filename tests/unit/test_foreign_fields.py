"""Fields of other servers: each stands for one of ours, is refused by name, or changes nothing; and their page.

`python -m tests.unit.test_foreign_fields` writes docs/other-servers.md anew from the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from localai_flask.api.anthropic.schemas import CountRequest, MessagesRequest
from localai_flask.api.openai.schemas import ChatRequest, CompletionRequest
from localai_flask.api.request.controls.forms import GUIDED
from localai_flask.api.request.controls.sampling_fields import sampling_fields
from localai_flask.api.request.foreign.fates import Fate, Hint, Honoured, Refusal
from localai_flask.api.request.foreign.refused import HINTS, REFUSED
from localai_flask.api.request.foreign.table import CONTAINERS, HONOURED, TABLE
from localai_flask.api.request.foreign.translation import name_of, translated
from localai_flask.api.request.parsing import Unsupported, first_error
from localai_flask.api.responses.schemas import ResponseRequest
from localai_flask.sampling_params import wanted_fields

CHAT = ChatRequest().fields
PAGE = Path(__file__).parents[2] / "docs" / "other-servers.md"
HEAD = f"""\
# Fields of other servers

Clients that were made for another server send what that server knows. A field that changes an answer is honoured where
an engine can, else refused by name with a 400 (`unsupported_parameter`); nothing of the kind is passed over in silence.
The fields below are taken in chat completions, completions, edits, messages and responses alike, as far as the field
that they stand for makes sense there. A field that a family has itself means there what that family says
([docs/compatibility.md](compatibility.md)). Fields that are in no table are ignored.

The entries of {", ".join(f"`{name}`" for name in CONTAINERS)} mean what they would outside of these objects.
The same thing may be said under two names; if they do not say the same, that is a 400. Errors have the name that was
sent.
This page is written from the tables that read requests, and a test holds it to them.
"""
VALUES: dict[str, tuple[Any, dict[str, Any]]] = {
    **dict.fromkeys(("typical", "typ_p"), (0.5, {"typical_p": 0.5})),
    "n_predict": (-1, {"max_tokens": -1}),
    "auto_max_new_tokens": (True, {"max_tokens": -1}),
    "max_time": (1.5, {"t_max_predict_ms": 1500}),
    "stop_sequence": (["a"], {"stop": ["a"]}),
    "stop_sequences": (["a"], {"stop": ["a"]}),
    "stop_words": (["a"], {"stop": ["a"]}),
    "stopping_strings": (["a"], {"stop": ["a"]}),
    "custom_stopping_strings": ('["a", "b"]', {"stop": ["a", "b"]}),
    "no_stop_trim": (True, {"include_stop_str_in_output": True}),
    "trim_stop": (False, {"include_stop_str_in_output": True}),
    "ban_eos_token": (True, {"ignore_eos": True}),
    "bypass_eos": (True, {"ignore_eos": True}),
    "banned_tokens": (["word", 7], {"banned_strings": ["word"], "logit_bias": {"7": -100}}),
    "custom_token_bans": ("3, 4", {"logit_bias": {"3": -100, "4": -100}}),
    "allowed_tokens": ([3], {"allowed_token_ids": [3]}),
    "repetition_penalty_range": (0, {"repeat_last_n": -1}),
    "do_sample": (False, {"temperature": 0}),
    "sampler_order": (
        [6, 0, 1, 3, 4, 2, 5],
        {
            "samplers": [
                "penalties",
                "dry",
                "top_n_sigma",
                "top_k",
                "top_a",
                "tfs",
                "typ_p",
                "top_p",
                "min_p",
                "xtc",
                "temperature",
            ]
        },
    ),
    "sampler_priority": ("temperature\ntop_k", {"samplers": ["temperature", "top_k"]}),
    "dynamic_temperature": (False, {}),
    "thinking": ({"type": "enabled", "budget_tokens": 9}, {"enable_thinking": True, "thinking_budget": 9}),
    "think": ("high", {"reasoning_effort": "high"}),
    "reasoning": (
        {"enabled": True, "effort": "low", "max_tokens": 9, "exclude": True},
        {"enable_thinking": True, "reasoning_effort": "low", "thinking_budget": 9, "include_reasoning": False},
    ),
    "separate_reasoning": (False, {"reasoning_format": "none"}),
    "template_vars": ({"a": 1}, {"chat_template_kwargs": {"a": 1}}),
    "chat_template_args": ({"a": 1}, {"chat_template_kwargs": {"a": 1}}),
    "instruction_template_str": ("x", {"chat_template": "x"}),
    "usage": ({"include": True}, {"stream_options": {"include_usage": True}}),
}
"""Values of fields whose meaning is not just the same number under another name, and what they stand for."""


def refusal(body: dict[str, Any], known: Any = CHAT) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        translated(body, known)
    return first_error(caught.value.messages)


def test_names_that_clients_send_are_known() -> None:
    """Those that were passed over in silence before there was a table."""
    names = (
        "repetition_penalty rep_pen n_predict max_new_tokens num_predict t_max_predict_ms stop_token_ids bad_words "
        "include_stop_str_in_output banned_strings allowed_token_ids no_repeat_ngram_size chat_template format "
        "json_schema enable_thinking thinking think reasoning reasoning_budget thinking_budget include_reasoning "
        "min_tokens skip_special_tokens logits_processors truncate_prompt_tokens top_a tfs sampler_order documents"
    )
    assert [name for name in names.split() if name not in TABLE and name not in CHAT] == []


@pytest.mark.parametrize("number", [-1, 0, 255, 3.0])
def test_hints_are_taken_that_could_be_followed(number: float) -> None:
    assert translated({"id_slot": number}, CHAT) == {}
    assert translated({"options": {"n_discard": abs(number)}}, CHAT) == {}


@pytest.mark.parametrize("number", [-7, 256, 10**9, 1e9, 0.5, "0", True])
def test_hints_that_nobody_could_follow_are_mistakes(number: Any) -> None:
    for body, path in (({"id_slot": number}, "id_slot"), ({"options": {"id_slot": number}}, "options.id_slot")):
        assert refusal(body)[0] == path


def test_no_name_has_two_fates() -> None:
    assert len(TABLE) == len(HONOURED) + len(REFUSED) + len(HINTS)


@pytest.mark.parametrize("name", HONOURED)
def test_a_foreign_name_stands_for_ours(name: str) -> None:
    fate = TABLE[name]
    assert isinstance(fate, Honoured)
    ours = fate.means.strip("`")
    value, meant = VALUES.get(name, (2, {ours: 2}))
    if name not in CHAT:
        assert translated({name: value}, CHAT) == meant
        for field, each in meant.items():
            CHAT[field].deserialize(each)
    assert translated({"options": {name: value}}, {k: v for k, v in CHAT.items() if k != name}) == meant


@pytest.mark.parametrize(
    "name", [name for name, fate in TABLE.items() if isinstance(fate, Refusal) and name not in CHAT]
)
def test_what_is_not_honoured_is_refused_by_name(name: str) -> None:
    fate = TABLE[name]
    assert isinstance(fate, Refusal)
    path, message = refusal({name: ["something"]})
    assert path == name
    assert isinstance(message, Unsupported)
    assert message == fate.reason
    assert fate.reason.endswith(".")
    for value in fate.harmless:
        assert translated({name: value}, CHAT) == {}


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_changes_nothing(name: str) -> None:
    fate = TABLE[name]
    assert isinstance(fate, Hint)
    assert translated({name: fate.within[1] if fate.within else ["something"]}, CHAT) == {}


def test_true_is_not_one() -> None:
    assert refusal({"top_a": True})[0] == "top_a"
    assert refusal({"tfs": True})[0] == "tfs"
    assert translated({"tfs": 1.0, "top_a": 0.0}, CHAT) == {}


def test_errors_have_the_name_that_was_sent() -> None:
    assert refusal({"repetition_penalty": 0}) == ("repetition_penalty", "must be between 0.01 and 100.")
    assert refusal({"options": {"num_predict": "x"}})[0] == "options.num_predict"
    assert refusal({"reasoning": {"effort": "vast"}})[0] == "reasoning"
    assert refusal({"thinking": {"type": "sometimes"}})[0] == "thinking.type"
    assert name_of("thinking_budget", {"options": {"reasoning_budget": 5}}, CHAT) == "options.reasoning_budget"
    assert name_of("thinking_budget", {"thinking_budget": 5}, CHAT) == "thinking_budget"


def test_two_names_have_to_say_the_same() -> None:
    both = {"repeat_penalty": 1.1, "repetition_penalty": 1.1, "rep_pen": 1.1}
    assert translated(both, CHAT) == {"repeat_penalty": 1.1}
    path, message = refusal({"repetition_penalty": 1.1, "rep_pen": 1.2})
    assert (path, message) == ("rep_pen", "says something else than `repetition_penalty`; send one of them.")
    joined = translated({"stop": ["a"], "stop_sequence": ["b"], "logit_bias": {"1": 2}, "banned_tokens": [3]}, CHAT)
    assert joined == {"stop": ["a", "b"], "logit_bias": {"1": 2, "3": -100}}


def test_a_family_refuses_what_it_has_no_place_for() -> None:
    known = CompletionRequest().fields
    assert refusal({"think": True}, known) == (
        "think",
        "stands for `enable_thinking`, which is not possible here; leave it out.",
    )
    assert translated({"think": False, "enable_thinking": False}, known) == {}
    assert refusal({"n_cmpl": 2}, MessagesRequest().fields)[0] == "n_cmpl"
    assert refusal({"logprobs": True}, ResponseRequest().fields)[0] == "logprobs"


def test_what_counts_tokens_refuses_nothing_that_only_changes_answers() -> None:
    body = {"tfs": 0.5, "repetition_penalty": 1.1, "think": False}
    assert translated(body, CountRequest().fields, is_strict=False) == {"enable_thinking": False}


def test_every_family_has_every_sampling_field() -> None:
    for schema in (ChatRequest, CompletionRequest, MessagesRequest, ResponseRequest):
        assert set(wanted_fields()) <= set(schema().fields)


def rows(fates: dict[str, Fate]) -> Iterator[str]:
    for name, fate in sorted(fates.items()):
        if isinstance(fate, Honoured):
            yield f"| `{name}` | {fate.means} | {fate.said} | {fate.servers} |"
        else:
            within = fate.within if isinstance(fate, Hint) else None
            bounds = f" From {within[0]} to {within[1]}." if within else ""
            yield f"| `{name}` | {fate.reason}{bounds} | {fate.servers} |"


def page() -> str:
    lines = [HEAD, "## Sampling, under our own names\n", "| field | meaning |", "|---|---|"]
    fields = sampling_fields()
    lines += [f"| `{name}` | {fields[name].metadata['description']} |" for name in sorted(wanted_fields())]
    lines += ["\n## Honoured\n", "| field | stands for | | of |", "|---|---|---|---|", *rows(HONOURED)]
    lines += ["\nThe form of an answer, with the form that each asks for, in errors under its own name:\n"]
    lines += ["| field | holds |", "|---|---|", *(f"| `{name}` | {kind} |" for name, kind in sorted(GUIDED.items()))]
    lines += ["\n## Refused, unless they ask for nothing\n", "| field | it | of |", "|---|---|---|", *rows(REFUSED)]
    lines += ["\n## Without effect\n", "| field | it | of |", "|---|---|---|", *rows(HINTS)]
    return "\n".join(lines) + "\n"


def test_the_page_lists_the_table() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.unit.test_foreign_fields"


if __name__ == "__main__":
    PAGE.write_text(page())
