"""The JSON of answers to questions, in the shape of OpenAI's Decisions."""

from __future__ import annotations

import msgspec

from localai_flask.api.decisions.asking import Decided
from localai_flask.api.decisions.schemas import AskedQuestion
from localai_flask.chat.decisions.distribution import Distribution
from localai_flask.chat.decisions.question import TRUE


class Predicate(msgspec.Struct, tag_field="type", tag="predicate"):
    """`option_mass` is how likely the model's answer is any of the options; a small one: it did not follow."""

    name: str | None
    probability: float
    option_mass: float


class ChoiceProbability(msgspec.Struct):
    value: str | bool
    probability: float


class Choice(msgspec.Struct, tag_field="type", tag="choice"):
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceProbability]
    option_mass: float


class LevelProbability(msgspec.Struct):
    value: int
    label: str
    probability: float


class Score(msgspec.Struct, tag_field="type", tag="score"):
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]
    option_mass: float


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int = 0


class DecisionUsage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    total_tokens: int
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = msgspec.field(default_factory=OutputTokensDetails)


class Decision(msgspec.Struct):
    model: str
    answers: list[Predicate | Choice | Score]
    usage: DecisionUsage


def usage_of(found: Decided) -> DecisionUsage:
    return DecisionUsage(found.input_tokens, InputTokensDetails(found.cached_tokens), found.input_tokens)


def answer_to(asked: AskedQuestion, found: Distribution) -> Predicate | Choice | Score:
    """Return the answer to one question."""
    told = found.probabilities
    if asked.kind == "predicate":
        return Predicate(asked.name, told[TRUE], found.option_mass)
    if asked.kind == "choice":
        each = [ChoiceProbability(*pair) for pair in zip(asked.values, told, strict=True)]
        return Choice(asked.name, asked.values[found.likeliest], found.confidence, each, found.option_mass)
    levels = [
        LevelProbability(place, str(label), probability)
        for place, (label, probability) in enumerate(zip(asked.values, told, strict=True))
    ]
    return Score(asked.name, found.mean, found.confidence, levels, found.option_mass)
