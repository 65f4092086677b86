"""The endpoints that answer questions about a text: each parses, asks and renders."""

from __future__ import annotations

from flask import Response

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.decisions import systemone
from localai_flask.api.decisions.asking import DecisionCall, decide
from localai_flask.api.decisions.schemas import AskedQuestion, DecisionRequest
from localai_flask.api.decisions.shapes import Decision, answer_to, usage_of
from localai_flask.api.door.places import takes_place
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work.fallback import falls_back

bp = Blueprint("decisions", __name__, description="Questions about a text, answered as probabilities")


@bp.post("/decisions")
@bp.arguments(DecisionRequest)
@bp.response(200, openapi.schema(Decision), description="The answers, in the order of the questions.")
@bp.doc(operationId="createDecision")
@takes_place
@falls_back
def create_decision(asked: tuple[DecisionCall, list[AskedQuestion]]) -> Response:
    """Answer questions about a text as probabilities"""
    call, questions = asked
    chosen = chosen_model("chat", call.model)
    found = decide(chosen, call)
    answers = [answer_to(*pair) for pair in zip(questions, found.answers, strict=True)]
    return json_response(Decision(chosen.name, answers, usage_of(found)))


@bp.post("/systemone")
@bp.arguments(systemone.SystemOneRequest)
@bp.response(200, openapi.schema(systemone.SystemOne), description="The answers, by the names of the questions.")
@bp.doc(operationId="systemOne")
@takes_place
@falls_back
def system_one(asked: tuple[DecisionCall, dict[str, AskedQuestion]]) -> Response:
    """Answer named questions about a text as probabilities, in the shape of System One"""
    call, questions = asked
    chosen = chosen_model("chat", call.model)
    found = decide(chosen, call)
    answers = {
        name: systemone.named_answer(question, each)
        for (name, question), each in zip(questions.items(), found.answers, strict=True)
    }
    return json_response(systemone.SystemOne(chosen.name, answers, usage_of(found)))
