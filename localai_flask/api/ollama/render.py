"""From answers to Ollama's JSON: whole ones, and the pieces that the streamed ones share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from localai_flask.api.answer.family_words import OLLAMA
from localai_flask.api.answer.logprobs import render_logprobs
from localai_flask.api.ollama import shapes
from localai_flask.api.work.turn_dropper import TurnDropper
from localai_flask.chat.answer import Answer, Finish
from localai_flask.chat.conversation import ToolCall
from localai_flask.chat.output.partial_json import is_object
from localai_flask.metrics.request_record import RequestRecord

INVALID = "INVALID_JSON"
"""The argument under which text stands that is no object, as a call has that was cut."""
encode = msgspec.json.Encoder().encode


class Told(NamedTuple):
    """What is told of an answer beside its text."""

    record: RequestRecord
    logprobs: bool
    dropper: TurnDropper | None = None


def chat_answer(model: str, answer: Answer, told: Told) -> shapes.ChatAnswer:
    """Render a whole answer to a conversation."""
    assert answer.finish is not None, "a collected answer has an end"
    calls = [tool_call(index, call) for index, call in enumerate(answer.tool_calls)]
    message = shapes.AnswerMessage(answer.content, answer.reasoning or UNSET, calls or UNSET)
    logprobs = render_logprobs(answer.logprobs) if told.logprobs else UNSET
    ending = measured(answer.finish, told)
    return shapes.ChatAnswer(model=model, created_at=now(), message=message, logprobs=logprobs, **ending)


def generated(model: str, answer: Answer, told: Told) -> shapes.Generated:
    """Render a whole continuation of a prompt."""
    assert answer.finish is not None, "a collected answer has an end"
    logprobs = render_logprobs(answer.logprobs) if told.logprobs else UNSET
    return shapes.Generated(
        model=model,
        created_at=now(),
        response=answer.content,
        thinking=answer.reasoning or UNSET,
        logprobs=logprobs,
        **measured(answer.finish, told),
    )


def measured(finish: Finish, told: Told) -> dict[str, Any]:
    """Return how an answer ended, what it took, and how many tokens it has; times are in nanoseconds."""
    at, usage, record = time.monotonic(), finish.usage, told.record
    phases = record.phases(at)
    dropped = {"dropped_turns": told.dropper.dropped} if told.dropper is not None and told.dropper.dropped else {}
    return {
        **dropped,
        "done": True,
        "done_reason": OLLAMA.finish[finish.reason],
        "total_duration": round((at - record.arrived) * 1e9),
        "load_duration": 1000 * phases.load,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": 1000 * phases.prefill,
        "prompt_cached_count": usage.cached_tokens,
        "eval_count": usage.completion_tokens,
        "eval_duration": 1000 * phases.decode,
    }


def tool_call(index: int, call: ToolCall) -> shapes.ToolCall:
    """Render a call, whose arguments are an object in this API."""
    text = call.arguments
    read: dict[str, Any] = msgspec.json.decode(text) if is_object(text) else {INVALID: text}
    return shapes.ToolCall(call.id, shapes.FunctionCall(index, call.name, read))


def now() -> str:
    return written(time.time())


def written(moment: float) -> str:
    """Write a time as the API does."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def line(value: object) -> bytes:
    """Return one line of a stream."""
    return encode(value) + b"\n"


def durations(record: RequestRecord) -> Sequence[int]:
    """Return how long a request and the load of its model have taken, in nanoseconds."""
    at = time.monotonic()
    return round((at - record.arrived) * 1e9), 1000 * record.phases(at).load
