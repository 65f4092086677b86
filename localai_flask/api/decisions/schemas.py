"""The body of a request to OpenAI's Decisions, and the call that it becomes."""

from __future__ import annotations

from typing import Any, NamedTuple

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.decisions.asking import DecisionCall
from localai_flask.api.decisions.transcript import conversation_of, text_of
from localai_flask.api.request.controls.sampling import CACHED, OF_SENDER
from localai_flask.api.request.fields import (
    Either,
    Many,
    Noted,
    Refused,
    RequestSchema,
    Text,
    Whole,
    not_empty,
    one_of,
)
from localai_flask.api.request.waiting import WaitingFields, waiting_of
from localai_flask.chat.conversation import Conversation
from localai_flask.chat.decisions.question import Option, Question, statement

MOST_QUESTIONS, MOST_OPTIONS = 400, 255
ITEMS = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}
BY_NUMBER = "chooses adapters for what is written; name one in `model`."
FEW = f"must have between 2 and {MOST_OPTIONS} entries."


class Permutations(Whole):
    def __init__(self) -> None:
        said = "In how many orders each question's options are shown; the mean of what comes of them is the answer."
        super().__init__(1, MOST_OPTIONS, load_default=1, metadata={"description": said})


class InputField(Either):
    """What is to be judged: a text, or messages, calls and their outputs."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Conversation:
        return conversation_of(value)


class InstructionsField(Either):
    """A text, or parts of text and JSON."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        return text_of(value)


class ValueField(Either):
    """A text or a truth value, which stay apart: `true` is not `"true"`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | bool:
        if not isinstance(value, str | bool) or value == "":
            raise ValidationError("must be a string that is not empty, or true or false.")
        return value


class AskedQuestion(NamedTuple):
    """A question as it came; the values are those of its options."""

    kind: str
    name: str | None
    question: Question
    values: tuple[str | bool, ...]


class ChoiceSchema(RequestSchema):
    value = ValueField(required=True, metadata={"anyOf": [{"type": "string"}, {"type": "boolean"}]})
    description = Text(load_default="")


class LevelSchema(RequestSchema):
    label = Text(required=True, validate=not_empty())
    description = Text(load_default="")


class QuestionSchema(RequestSchema):
    """A predicate, a choice with its `choices`, or a score with its `levels`."""

    type = Text(required=True, validate=one_of("predicate", "choice", "score"))
    instructions = InstructionsField(required=True, metadata=ITEMS)
    name = Text()
    choices = Many(fields.Nested(ChoiceSchema))
    levels = Many(fields.Nested(LevelSchema))

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> AskedQuestion:
        kind, instructions, name = data["type"], data["instructions"], data.get("name")
        if kind == "predicate":
            return AskedQuestion(kind, name, statement(instructions), ())
        field, key = ("choices", "value") if kind == "choice" else ("levels", "label")
        entries = data.get(field)
        if entries is None:
            raise ValidationError({field: ["is required."]})
        values = tuple(entry[key] for entry in entries)
        check_options(field, values)
        options = (Option(_shown(entry[key]), entry["description"]) for entry in entries)
        return AskedQuestion(kind, name, Question(instructions, tuple(options)), values)


def check_options(field: str, values: tuple[str | bool, ...]) -> None:
    """Raise `ValidationError` for too few or too many options, or two that are the same."""
    if not 2 <= len(values) <= MOST_OPTIONS:
        raise ValidationError({field: [FEW]})
    typed = [(type(value), value) for value in values]
    if len(set(typed)) < len(typed):
        twice = next(at for at, value in enumerate(typed) if value in typed[:at])
        raise ValidationError({field: {twice: ["must not be the same as one before it."]}})


def _shown(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


class DecisionRequest(WaitingFields):
    model = Text()
    input = InputField(required=True, metadata=ITEMS)
    questions = Many(fields.Nested(QuestionSchema), required=True, validate=not_empty(most=MOST_QUESTIONS))
    permutations = Permutations()
    lora = Refused(BY_NUMBER)
    prompt_cache_key = Noted(CACHED)
    prompt_cache_options = Noted(CACHED)
    safety_identifier = Noted(OF_SENDER)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[DecisionCall, list[AskedQuestion]]:
        asked: list[AskedQuestion] = data["questions"]
        call = DecisionCall(
            model=data.get("model") or None,
            conversation=data["input"],
            questions=tuple(each.question for each in asked),
            places=tuple(f"questions[{number}]" for number in range(len(asked))),
            permutations=data["permutations"],
            input_field="input",
            waiting=waiting_of(data),
        )
        return call, asked
