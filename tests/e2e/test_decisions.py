"""Decisions on a running server: as likely as the completions API says of the same prompts."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI

from localai_flask.chat.decisions.question import statement
from tests.support.server import Server

TEXT = "The cat sat on the mat. " * 20
CHOICE = {
    "type": "choice",
    "instructions": "Where did it sit?",
    "choices": [{"value": value} for value in ("on the mat", "on the roof", "in a tree")],
}


def prompt_of(server: Server, question: str) -> str:
    """Return the prompt that a chat has whose only message is the text with a question behind it."""
    messages = [{"role": "user", "content": f"{TEXT}\n\n{question}"}]
    return httpx.post(f"{server.url}/apply-template", json={"model": "demo", "messages": messages}).json()["prompt"]


def tokens_of(server: Server, text: str) -> list[int]:
    body = {"model": "demo", "content": text, "add_special": False}
    return httpx.post(f"{server.url}/v1/tokenize", json=body).json()["tokens"]


def mass_of(client: OpenAI, server: Server, prompt: str, label: str) -> float:
    """Return how likely the completions API finds it that a prompt is followed by a label, with or without a space."""
    mass, seen = 0.0, set()
    for spelled in (label, f" {label}"):
        before, whole = tokens_of(server, prompt), tokens_of(server, prompt + spelled)
        if whole[:-1] != before or whole[-1] in seen:
            continue
        seen.add(whole[-1])
        echoed: Any = client.completions.create(
            model="demo", prompt=prompt + spelled, echo=True, logprobs=0, max_tokens=0
        )
        mass += math.exp(echoed.choices[0].logprobs.token_logprobs[-1])
    return mass


ROUNDING = 0.04
"""How far the toy's probabilities may be apart: its random weights make much of the last bits, in which a prompt that
is computed beside others differs, and on processors without AVX-512 most of all."""


def test_probabilities_are_those_of_the_completions_api(server: Server) -> None:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        made = client.decisions.create(
            model="demo", input=TEXT, questions=[{"type": "predicate", "instructions": "A cat sat."}, CHOICE]
        )
        predicate, choice = made.answers
        # The toy's vocabulary has no tokens for Yes and No.
        prompt = prompt_of(server, statement("A cat sat.").written((0, 1), ("A", "B")))
        yes, no = (mass_of(client, server, prompt, label) for label in "AB")
        assert predicate.probability == pytest.approx(yes / (yes + no), abs=ROUNDING)
        prompt = prompt_of(
            server,
            "Where did it sit?\n\nOptions:\nA) on the mat\nB) on the roof\nC) in a tree\n\n"
            "Answer with the letter of the option that fits best.",
        )
        masses = [mass_of(client, server, prompt, label) for label in "ABC"]
    assert [each.probability for each in choice.probabilities] == pytest.approx(
        [mass / sum(masses) for mass in masses], abs=ROUNDING
    )
    assert math.fsum(each.probability for each in choice.probabilities) == pytest.approx(1, abs=1e-6)
    assert choice.model_extra["option_mass"] == pytest.approx(sum(masses), rel=0.1)


def test_more_questions_than_a_worker_runs_or_lets_wait(server: Server) -> None:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        questions = [{"type": "predicate", "instructions": f"There were {number} cats."} for number in range(100)]
        made = client.decisions.create(model="demo", input=TEXT, questions=questions)
        assert len(made.answers) == 100
        with pytest.raises(BadRequestError) as refused:
            client.decisions.create(model="demo", input=TEXT * 500, questions=questions[:1])
    assert refused.value.param == "input" and "context" in str(refused.value)
