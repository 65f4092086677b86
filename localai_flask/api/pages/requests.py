"""Requests in flight, for administrators: a list over all processes of this server, and an end to one of them."""

from __future__ import annotations

import os

import msgspec
from flask import Response

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.observation import REQUEST_ID
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.errors import NotFound
from localai_flask.metrics.in_flight import Question, Request, Told, ask_all, by_age
from localai_flask.pool.runtime import ENV, Runtime

bp = Blueprint("requests", __name__, description="Requests in flight")


class RequestList(msgspec.Struct):
    """The requests that models work on, the oldest first, and the processes that did not say theirs in time."""

    data: list[Request]
    silent: list[int]
    object: str = "list"


class Cancelled(msgspec.Struct):
    """How many requests with this id were cancelled; clients may give several the same."""

    id: str
    cancelled: int
    object: str = "request.cancelled"


@bp.get("/requests")
@bp.response(200, openapi.schema(RequestList), description="The requests in flight.")
@bp.doc(operationId="listRequests")
@admin_only
def list_requests() -> Response:
    """List the requests in flight"""
    told, silent = ask(Question())
    return json_response(RequestList(by_age(told.requests), silent))


@bp.delete("/requests/<path:request_id>")
@bp.alias("/requests/<path:request_id>/cancel", methods=["POST"])
@bp.response(200, openapi.schema(Cancelled), description="It is cancelled, and its client is told so.")
@bp.doc(operationId="cancelRequest")
@admin_only
def cancel_request(request_id: str) -> Response:
    """Cancel a request in flight"""
    found = ask(Question(cancel=request_id))[0].requests if REQUEST_ID.fullmatch(request_id) else []
    if not found:
        raise NotFound(f"No request {request_id} is in flight; GET /requests lists those that are.")
    return json_response(Cancelled(request_id, len(found)))


def ask(question: Question) -> tuple[Told, list[int]]:
    """Ask all processes of this server, or this one alone where there is no server around it."""
    if ENV in os.environ:
        return ask_all(Runtime.from_environment().path, question)
    return current.in_flight().answer(question), []
