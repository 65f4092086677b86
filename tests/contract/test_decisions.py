"""Decisions: options as likely as the engine's own log-probabilities of their labels, or a refusal by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from openai import BadRequestError

from tests.contract.subject import WRITER, Subject

TEXT = "The cat sat on the mat and looked at the other cat."
CHOICE = {"type": "choice", "instructions": "Where?", "choices": [{"value": "here"}, {"value": "there"}]}
WRITTEN = "Where?\n\nOptions:\nA) here\nB) there\n\nAnswer with the letter of the option that fits best."
ROUNDING = 2e-2


def tokens_of(subject: Subject, text: str) -> list[int]:
    status, found = subject.server.post("/v1/tokenize", {"model": WRITER, "content": text, "add_special": False})
    assert status == 200
    return list(found["tokens"])


def mass_of(subject: Subject, prompt: str, label: str) -> float:
    """Return how likely the engine finds a label, by having it choose no other token."""
    before = tokens_of(subject, prompt)
    behind = [tokens_of(subject, prompt + spelled) for spelled in (label, f" {label}")]
    singles = {tokens[-1] for tokens in behind if tokens[:-1] == before}
    assert singles
    logprobs = []
    for token in singles:
        made: Any = subject.complete(prompt, max_tokens=1, logprobs=0, allowed_token_ids=[token])
        logprobs.append(made.choices[0].logprobs.token_logprobs[0])
    return math.fsum(map(math.exp, logprobs))


def test_options_are_as_likely_as_their_labels(subject: Subject) -> None:
    subject.need_writing("logprob_token_ids", "allowed_token_ids")
    predicates = [{"type": "predicate", "instructions": f"There were {number} cats."} for number in range(9)]
    made = subject.client.decisions.create(model=WRITER, input=TEXT, questions=[CHOICE, *predicates])
    choice, *others = made.answers
    prompt = subject.engine.chat_prompt.format(f"{TEXT}\n\n{WRITTEN}")
    masses = [mass_of(subject, prompt, label) for label in "AB"]
    expected = [mass / sum(masses) for mass in masses]
    assert [each.probability for each in choice.probabilities] == pytest.approx(expected, abs=ROUNDING)
    assert choice.model_extra["option_mass"] == pytest.approx(sum(masses), rel=0.1)
    assert len(others) == 9 and all(0 <= each.probability <= 1 for each in others)
    assert made.usage.output_tokens == 0


def test_an_engine_that_cannot_refuses_by_name(subject: Subject) -> None:
    subject.need_writing()
    if subject.takes("logprob_token_ids"):
        pytest.skip(f"{subject.engine.name} tells what is needed")
    with pytest.raises(BadRequestError) as refused:
        subject.client.decisions.create(model=WRITER, input=TEXT, questions=[CHOICE])
    assert refused.value.param == "model"
