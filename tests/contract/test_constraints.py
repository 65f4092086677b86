"""Forms of answers: each kind that the engine declares holds, also beside others; the rest is refused by name."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest

from tests.contract.subject import PROMPTS, WRITER, Subject

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green"]},
        "name": {"type": "string", "pattern": "^[a-z]{2,4}$"},
    },
    "required": ["colour", "name"],
    "additionalProperties": False,
}
CHOICES = ["strawberry", "blueberry", "no berry"]
ENOUGH = 300
"""Tokens in which every form below is complete, with all the white space that JSON may have."""
FORMS: dict[str, dict[str, Any]] = {
    "json_schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}
    },
    "regex": {"guided_regex": "[0-9]{3}-(yes|no)"},
    "gbnf": {"grammar": 'root ::= "a" [x-z] "b"'},
    "lark": {"guided_choice": CHOICES},
}
"""For each kind of constraint, what asks for it."""
CALL = {
    "type": "function",
    "function": {"name": "paint", "parameters": SCHEMA},
}


def holds(kind: str, text: str) -> None:
    """Fail if a text does not have the form."""
    if kind == "json_schema":
        jsonschema.validate(json.loads(text), SCHEMA)
    elif kind == "regex":
        assert re.fullmatch("[0-9]{3}-(yes|no)", text)
    elif kind == "gbnf":
        assert re.fullmatch("a[x-z]b", text)
    else:
        assert text in CHOICES


def answer(subject: Subject, kind: str, **fields: Any) -> Any:
    return subject.client.chat.completions.create(
        model=subject.need(WRITER),
        messages=[{"role": "user", "content": PROMPTS[0]}],
        extra_body={"max_tokens": ENOUGH, "temperature": 0, **FORMS[kind], **fields},
    ).choices[0]


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_holds_or_is_refused(subject: Subject, kind: str) -> None:
    subject.need(WRITER)
    if kind not in subject.declared["constraints"]:
        refused = subject.refusal(**FORMS[kind])
        (field,) = FORMS[kind]
        assert refused["code"] == "unsupported_parameter", refused
        assert refused["param"].startswith(field) and subject.engine.yaml_name in refused["message"]
        return
    made = answer(subject, kind)
    assert made.finish_reason == "stop"
    holds(kind, made.message.content)


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_holds_for_drawn_tokens(subject: Subject, kind: str) -> None:
    if kind not in subject.declared["constraints"]:
        pytest.skip(f"{subject.engine.name} does not take {kind}")
    for seed in range(3):
        holds(kind, answer(subject, kind, temperature=1.5, seed=seed).message.content)


def test_different_forms_at_once(subject: Subject) -> None:
    kinds = [kind for kind in FORMS if kind in subject.declared["constraints"]]
    if not kinds:
        pytest.skip(f"{subject.engine.name} takes no constraints")
    free = subject.text(PROMPTS[0])
    with ThreadPoolExecutor(8) as threads:
        beside = [threads.submit(subject.text, PROMPTS[0]) for _ in range(2)]
        made = {kind: threads.submit(answer, subject, kind) for kind in kinds}
    for kind, one in made.items():
        holds(kind, one.result().message.content)
    if not subject.tie(WRITER):
        assert [each.result() for each in beside] == [free] * 2


def test_a_form_that_is_wrong_is_refused(subject: Subject) -> None:
    if "regex" not in subject.declared["constraints"]:
        pytest.skip(f"{subject.engine.name} does not take regex")
    refused = subject.refusal(guided_regex="(unclosed")
    assert refused["param"] == "guided_regex"
    assert subject.text(PROMPTS[0])


def call(subject: Subject, **fields: Any) -> Any:
    return subject.client.chat.completions.create(
        model=subject.need(WRITER),
        messages=[{"role": "user", "content": PROMPTS[0]}],
        extra_body={"max_tokens": 2 * ENOUGH, "temperature": 0, "tools": [CALL], **fields},
    ).choices[0]


def test_a_call_of_a_tool(subject: Subject) -> None:
    """Demanded, so that random weights make it: a form with parts."""
    if not {"lark", "parts"} <= set(subject.declared["constraints"]):
        pytest.skip(f"{subject.engine.name} takes no form with parts")
    made = call(subject, tool_choice="required")
    assert made.finish_reason == "tool_calls"
    assert made.message.tool_calls[0].function.name == "paint"
    jsonschema.validate(json.loads(made.message.tool_calls[0].function.arguments), SCHEMA)


def test_a_call_that_the_model_begins(subject: Subject) -> None:
    """A trigger: nothing is constrained before it, and the call behind it is."""
    if not {"lark", "parts", "trigger"} <= set(subject.declared["constraints"]):
        pytest.skip(f"{subject.engine.name} takes no trigger")
    assert call(subject, max_tokens=8).message.content
    subject.need_writing("text_bias")
    made = call(subject, logit_bias={"<tool_call>": 100}, parallel_tool_calls=False)
    assert made.finish_reason == "tool_calls"
    jsonschema.validate(json.loads(made.message.tool_calls[0].function.arguments), SCHEMA)
