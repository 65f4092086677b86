"""What may be done with an answer while it is being written, as llama-server has it: end its thinking now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow
import msgspec
from flask import Response

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door import auth
from localai_flask.api.pages import openapi
from localai_flask.api.pages.requests import ask
from localai_flask.api.request.fields import Noted, RequestSchema, Text, not_empty, one_of
from localai_flask.api.request.parsing import Blueprint
from localai_flask.metrics.in_flight import Question

bp = Blueprint("control", __name__, description="Answers while they are being written")

NONE = "no active completion for this id"
NOT_ARMED = (
    "reasoning control not enabled for this completion; send `reasoning_control: true` with its request, to a model "
    "whose backend can end thinking"
)


@dataclass(frozen=True, slots=True)
class ControlCall:
    id: str
    action: str


class ControlRequest(RequestSchema):
    id = Text(required=True, validate=not_empty(), metadata={"description": "The id of the answer."})
    action = Text(required=True, validate=one_of("reasoning_end"))
    model = Noted("is known by the id.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> ControlCall:
        return ControlCall(data["id"], data["action"])


class Controlled(msgspec.Struct, omit_defaults=True):
    """Whether it was done, and if not, why."""

    success: bool
    message: str = ""


@bp.post("/chat/completions/control")
@bp.arguments(ControlRequest)
@bp.response(200, openapi.schema(Controlled), description="Done, or why not.")
@bp.doc(operationId="controlChatCompletion")
def control_chat_completion(call: ControlCall) -> Response:
    """End the thinking of an answer that is being written, so that its model answers now"""
    key = auth.key()
    told, _ = ask(Question(end_thinking=call.id, keeper=None if key.admin else key.keeper))
    if told.ending:
        return json_response(Controlled(True))
    return json_response(Controlled(False, NOT_ARMED if told.requests else NONE))
