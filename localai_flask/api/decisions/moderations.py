"""OpenAI's moderations: whether texts harm, as thirteen questions about each, which any model that writes answers."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import marshmallow
import msgspec
from flask import Response
from marshmallow import ValidationError

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.conversation.images import images_in, read_image
from localai_flask.api.decisions.asking import DecisionCall, decide
from localai_flask.api.decisions.schemas import BY_NUMBER
from localai_flask.api.door.places import takes_place
from localai_flask.api.pages import openapi
from localai_flask.api.request.fields import Either, Refused, Text
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import WaitingFields, waiting_of
from localai_flask.api.work.fallback import falls_back
from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.decisions.question import TRUE, statement

bp = Blueprint("moderations", __name__, description="Whether texts harm")

MOST_INPUTS = 100
FLAGGED = 0.5
"""From which probability on a text is said to be of a category."""
CATEGORIES = {
    "harassment": "It harasses somebody, or incites others to.",
    "harassment/threatening": "It harasses somebody and threatens them with violence or serious harm.",
    "hate": "It expresses hate for people because of their race, gender, ethnicity, religion, nationality, sexual "
    "orientation, disability or caste.",
    "hate/threatening": "It expresses hate for such a group of people and threatens them with violence.",
    "illicit": "It explains how to commit a crime or an offence.",
    "illicit/violent": "It explains how to commit a violent crime, or how to get a weapon.",
    "self-harm": "It promotes, encourages or depicts self-harm, such as suicide, cutting or eating disorders.",
    "self-harm/intent": "The one who speaks harms themselves, or means to.",
    "self-harm/instructions": "It explains how to harm oneself, or encourages others to do so.",
    "sexual": "It is meant to arouse sexual excitement, or promotes sexual services.",
    "sexual/minors": "It has sexual content with somebody younger than 18 years.",
    "violence": "It depicts death, violence or physical injury.",
    "violence/graphic": "It depicts death, violence or physical injury in graphic detail.",
}
QUESTIONS = tuple(map(statement, CATEGORIES.values()))


class ModerationInput(Either):
    """A text, a list of texts, or a list of parts that belong together."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[Conversation, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts:
            raise ValidationError("must be a string, or a list of strings or parts, and not empty.")
        if all(isinstance(text, dict) for text in texts):
            content = "\n".join(_part(index, part) for index, part in enumerate(texts))
            return (Conversation(messages=(Message(role="user", content=content, images=images_in(texts)),)),)
        if len(texts) > MOST_INPUTS:
            raise ValidationError(f"may have at most {MOST_INPUTS} entries.")
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                raise ValidationError({index: ["must be a string that is not empty."]})
        return tuple(Conversation(messages=(Message(role="user", content=text),)) for text in texts)


def _part(index: int, part: dict[str, Any]) -> str:
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if part.get("type") == "image_url":
        try:
            return read_image(part).mark
        except ValidationError as error:
            raise ValidationError({index: error.messages}) from None
    raise ValidationError({index: ["must be a part of type text or image_url."]})


class ModerationRequest(WaitingFields):
    model = Text()
    input = ModerationInput(
        required=True,
        metadata={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "object"]}}]},
    )
    lora = Refused(BY_NUMBER)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[DecisionCall, ...]:
        shared = DecisionCall(
            model=data.get("model") or None,
            conversation=data["input"][0],
            questions=QUESTIONS,
            places=tuple(CATEGORIES),
            permutations=1,
            input_field="input",
            waiting=waiting_of(data),
        )
        return tuple(dataclasses.replace(shared, conversation=each) for each in data["input"])


class Moderated(msgspec.Struct):
    """What is said of one input."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class Moderations(msgspec.Struct):
    id: str
    model: str
    results: list[Moderated]


@bp.post("/moderations")
@bp.arguments(ModerationRequest)
@bp.response(200, openapi.schema(Moderations), description="What is said of each input.")
@bp.doc(operationId="createModeration")
@takes_place
@falls_back
def create_moderation(calls: tuple[DecisionCall, ...]) -> Response:
    """Judge whether texts harm, and how"""
    chosen = chosen_model("chat", calls[0].model)
    results = []
    for call in calls:
        told = [each.probabilities[TRUE] for each in decide(chosen, call).answers]
        scores = dict(zip(CATEGORIES, told, strict=True))
        flags = {category: score >= FLAGGED for category, score in scores.items()}
        kinds = ["text", "image"] if call.conversation.images else ["text"]
        results.append(Moderated(any(flags.values()), flags, scores, dict.fromkeys(CATEGORIES, kinds)))
    return json_response(Moderations(f"modr-{uuid.uuid4().hex}", chosen.name, results))
