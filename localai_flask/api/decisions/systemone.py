"""The same questions in the shape of TypeSafe's System One: those of a request by their names, and so the answers."""

from __future__ import annotations

from typing import Any

import marshmallow
import msgspec
from marshmallow import ValidationError

from localai_flask.api.decisions.asking import DecisionCall
from localai_flask.api.decisions.schemas import BY_NUMBER, MOST_QUESTIONS, AskedQuestion, Permutations, check_options
from localai_flask.api.decisions.shapes import DecisionUsage
from localai_flask.api.decisions.transcript import conversation_of, json_text
from localai_flask.api.request.fields import Either, Mapping, Object, Refused, RequestSchema, Text, one_of
from localai_flask.api.request.waiting import WaitingFields, waiting_of
from localai_flask.chat.decisions.distribution import Distribution
from localai_flask.chat.decisions.question import TRUE, Option, Question, statement

ANY_JSON = {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}
ELSEWHERE = "cannot be sent here; `input` of /v1/decisions takes images."


class Content(Either):
    """A text, or JSON that is shown as it is."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str | dict | list) or not value:
            raise ValidationError("must be a string, an object or a list, and not empty.")
        return json_text(value)


class NamedQuestion(RequestSchema):
    """A noul (whether something is true), a choice, or a score."""

    type = Text(required=True, validate=one_of("noul", "choice", "score"))
    instructions = Content(required=True, metadata=ANY_JSON)
    criteria = Either(
        metadata={
            "anyOf": [{"type": "object"}, {"type": "array"}],
            "description": "Of a choice its options with what they mean, or null; of a score its levels, the lowest "
            "first; of a noul what `true` and `false` mean.",
        }
    )

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> AskedQuestion:
        kind, instructions, criteria = data["type"], data["instructions"], data.get("criteria")
        if kind == "noul":
            return AskedQuestion(kind, None, statement(instructions, *_sides(criteria)), ())
        options = _choices(criteria) if kind == "choice" else _levels(criteria)
        values = tuple(option.text for option in options)
        check_options("criteria", values)
        return AskedQuestion(kind, None, Question(instructions, options), values)


def _sides(criteria: Any) -> tuple[str, str]:
    """Return what true and false mean, as far as that is said."""
    if criteria is None:
        return "", ""
    if not isinstance(criteria, dict):
        raise ValidationError({"criteria": ["must be an object with `true` and `false`."]})
    for key in (key for key in criteria if key not in ("true", "false")):
        said = "is unknown here; a noul's criteria are `true` and `false`."
        raise ValidationError({"criteria": {str(key)[:100]: [said]}})
    return _meaning(criteria.get("true")), _meaning(criteria.get("false"))


def _choices(criteria: Any) -> tuple[Option, ...]:
    if not isinstance(criteria, dict):
        raise ValidationError({"criteria": ["must be an object of options."]})
    return tuple(Option(text, _meaning(meaning)) for text, meaning in criteria.items())


def _levels(criteria: Any) -> tuple[Option, ...]:
    if not isinstance(criteria, list):
        raise ValidationError({"criteria": ["must be a list of levels."]})
    return tuple(Option(_meaning(level)) for level in criteria)


def _meaning(value: Any) -> str:
    return "" if value is None else json_text(value)


class SystemOneRequest(WaitingFields):
    model = Text()
    state = Content(required=True, metadata={**ANY_JSON, "description": "What the questions are about."})
    questions = Mapping(
        keys=Text(),
        values=Object(NamedQuestion),
        required=True,
        validate=marshmallow.validate.Length(
            min=1, max=MOST_QUESTIONS, error=f"must have between 1 and {MOST_QUESTIONS} entries."
        ),
    )
    permutations = Permutations()
    lora = Refused(BY_NUMBER)
    files = Refused(ELSEWHERE)
    images = Refused(ELSEWHERE)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[DecisionCall, dict[str, AskedQuestion]]:
        asked: dict[str, AskedQuestion] = data["questions"]
        call = DecisionCall(
            model=data.get("model") or None,
            conversation=conversation_of(data["state"]),
            questions=tuple(each.question for each in asked.values()),
            places=tuple(f"questions.{name}" for name in asked),
            permutations=data["permutations"],
            input_field="state",
            waiting=waiting_of(data),
        )
        return call, asked


class Noul(msgspec.Struct, tag_field="type", tag="noul"):
    noul: float
    option_mass: float


class NamedChoice(msgspec.Struct, tag_field="type", tag="choice"):
    choice: str
    probabilities: dict[str, float]
    confidence: float
    option_mass: float


class NamedScore(msgspec.Struct, tag_field="type", tag="score"):
    score: float
    legend: dict[str, str]
    probabilities: dict[str, float]
    confidence: float
    option_mass: float


class SystemOne(msgspec.Struct):
    model: str
    answers: dict[str, Noul | NamedChoice | NamedScore]
    usage: DecisionUsage


def named_answer(asked: AskedQuestion, found: Distribution) -> Noul | NamedChoice | NamedScore:
    """Return the answer to one question."""
    told, confidence, mass = found.probabilities, found.confidence, found.option_mass
    if asked.kind == "noul":
        return Noul(told[TRUE], mass)
    texts = [str(value) for value in asked.values]
    if asked.kind == "choice":
        return NamedChoice(texts[found.likeliest], dict(zip(texts, told, strict=True)), confidence, mass)
    places = [str(place) for place in range(len(texts))]
    legend, levels = dict(zip(places, texts, strict=True)), dict(zip(places, told, strict=True))
    return NamedScore(found.mean, legend, levels, confidence, mass)
