"""One request's questions to a model: a place, a session with the pool, and the answers in the questions' order."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from flask import request

from localai_flask.api import current
from localai_flask.api.door.places import settle, take_place
from localai_flask.api.request.waiting import (
    NO_WISHES,
    Waiting,
    check_has_come,
    check_loading_time,
    terms_of,
    time_left,
)
from localai_flask.api.work.plans import Planned, await_plan, finish
from localai_flask.api.work.watch import Watch
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ContextOverflow, InvalidRequest
from localai_flask.generation import ModelInfo
from localai_flask.inquiry import Embedded, EmbeddedPart, Fact, Question
from localai_flask.metrics.question_meter import QuestionMeter
from localai_flask.pool.client.inbox import BEAT_S
from localai_flask.pool.client.session import Session
from localai_flask.pool.messages import Terms

log = logging.getLogger("gunicorn.error")

LACKS = {
    "embed": "makes no embeddings; set `embeddings: true` in its YAML, or choose a model that makes them",
    "score": "does not score documents; choose a reranking model, with `reranking: true` in its YAML",
    "tokenize": "is run by a backend that does not tell its tokens; choose another model",
}
"""What to say of a model that has not the capability."""

T = TypeVar("T", bound=Fact)


Plan = Callable[[ModelInfo], Planned[Sequence[Question]]]
"""Makes the questions once the model is ready."""


def ask(
    config: ModelConfig, questions: Sequence[Question] | Plan, kind: type[T], waiting: Waiting = NO_WISHES
) -> list[T]:
    """Load the model if need be, ask it and wait; all answers must be of one kind.

    Raises whatever `ApiError` ends the work, and `ClientLeft`.
    """
    watch, begun = Watch(request.environ), time.monotonic()
    terms = terms_of(waiting, watch.record.trace)
    place = take_place()
    record = watch.record
    try:
        session = current.pool().session(config)
        session.keep_alive_s = waiting.keep_alive_s
        record.await_model(config.name)
        if not current.pool().is_loaded(config):
            settle()
        for progress in session.wait_ready(BEAT_S):
            watch.check()
            check_loading_time(config, terms, begun, progress)
            check_has_come(config, waiting, begun, progress, is_engine=session.coming == "engine")
        if callable(questions):
            questions = finish(await_plan(questions(session.info), watch.check, terms, begun))
        capability = questions[0].capability
        if capability not in session.info.capabilities:
            raise InvalidRequest(f"The model {config.name!r} {LACKS[capability]}.", param="model")
        if config.parent and capability != "tokenize":
            said = f"is an adapter, which only writes; ask its parent {config.parent!r} for vectors and scores"
            raise InvalidRequest(f"The model {config.name!r} {said}.", param="model")
        if current.settings().log_prompts:
            for question in questions:
                log.info("model %s is asked: %r", config.name, question)
        meter = QuestionMeter(current.counts(), record, config.name)
        try:
            answers = _collect(session, questions, watch, time_left(terms, begun))
            meter.finish(answers.values())
        except ApiError as error:
            meter.fail(error.info)
            raise
        finally:
            meter.abort()
    finally:
        place.release()
    found = [answers[index] for index in range(len(questions))]
    return [answer for answer in found if isinstance(answer, kind)]


@contextmanager
def texts_named(field: str | None) -> Iterator[None]:
    """Have the error for a text that is too long name a field as the request has it, or none."""
    try:
        yield
    except ApiError as error:
        if error.info.code == ContextOverflow.code:
            error.info = msgspec.structs.replace(error.info, param=field)
        raise


def _collect(session: Session, questions: Sequence[Question], watch: Watch, terms: Terms) -> dict[int, Fact]:
    answers: dict[int, Fact] = {}
    parts: dict[int, list[bytes]] = defaultdict(list)
    asked = session.ask(questions, terms)
    settle()
    try:
        for event in asked.events(BEAT_S):
            watch.check()
            if event is None:
                continue
            index, reply = event
            if isinstance(reply, EmbeddedPart):
                parts[index].append(reply.data)
            elif isinstance(reply, Embedded) and index in parts:
                answers[index] = Embedded(b"".join([*parts[index], reply.data]), reply.dimension, reply.tokens)
            elif isinstance(reply, Fact):
                answers[index] = reply
    finally:
        asked.close()
    return answers
