"""From answers to Anthropic's whole messages, and the tables that the streamed ones share."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Container
from typing import Any

import msgspec

from localai_flask.api.answer.family_words import MESSAGES
from localai_flask.api.anthropic import shapes
from localai_flask.chat.answer import Answer, Finish
from localai_flask.chat.output.partial_json import is_object
from localai_flask.generation import FinishReason, Usage

INVALID = "INVALID_JSON"

encode = msgspec.json.Encoder().encode


def new_message_id() -> str:
    return "msg_" + uuid.uuid4().hex


def message(
    id: str,
    model: str,
    answer: Answer,
    stops: Container[str],
    *,
    shows_thinking: bool,
    hides_thoughts: bool,
    has_answer: bool,
    keep_s: int,
) -> bytes:
    """Render a whole message; `stops` are the client's own stop sequences.

    One that is no answer, as only its prompt was wanted, has no content.
    """
    assert answer.finish is not None, "a collected answer has an end"
    content: list[shapes.TextBlock | shapes.ThinkingBlock | shapes.ToolUseBlock] = []
    if answer.reasoning and shows_thinking:
        thoughts = "" if hides_thoughts else answer.reasoning
        content.append(shapes.ThinkingBlock(thoughts, Signature().add(answer.reasoning).text))
    if answer.content or (has_answer and not answer.tool_calls):
        content.append(shapes.TextBlock(answer.content))
    for call in answer.tool_calls:
        content.append(shapes.ToolUseBlock(tool_use_id(call.id), call.name, _input(call.arguments)))
    reason, sequence = stop_reason(answer.finish, stops)
    return encode(shapes.Message(id, model, content, reason, sequence, usage(answer.finish.usage, keep_s)))


def _input(arguments: str) -> dict[str, Any]:
    """Read a call's arguments; text that is no object, as a call has that was cut, must not pass for one.

    The key is the one under which Anthropic's API takes such text back (docs on fine-grained tool streaming).
    """
    read: dict[str, Any] = msgspec.json.decode(arguments) if is_object(arguments) else {INVALID: arguments}
    return read


def usage(used: Usage, keep_s: int) -> shapes.UsageShape:
    """Count tokens; what the engine keeps for a time, as the request has asked, counts as written."""
    details, written = shapes.OutputTokensDetails(used.reasoning_tokens), used.kept_tokens
    computed = used.prompt_tokens - used.cached_tokens
    shape = shapes.UsageShape(computed - written, used.completion_tokens, used.cached_tokens, written, details)
    if keep_s:
        is_long = keep_s > shapes.SHORT_TTL_S
        shape.cache_creation = shapes.CacheCreation(0 if is_long else written, written if is_long else 0)
    return shape


def stop_reason(finish: Finish, stops: Container[str]) -> tuple[shapes.StopWord, str | None]:
    """Return why a message ended, and by which of the client's own stop sequences if by one."""
    if finish.reason is FinishReason.STOP_SEQUENCE and finish.stop_sequence not in stops:
        return "end_turn", None  # one of the model's YAML, of which the client knows nothing
    sequence = finish.stop_sequence if finish.reason is FinishReason.STOP_SEQUENCE else None
    return MESSAGES.finish[finish.reason], sequence


def tool_use_id(id: str) -> str:
    return "toolu_" + id.removeprefix("call_")


class Signature:
    """The mark that goes with a thinking block; it is never checked, as thinking comes back to the model as text."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, thoughts: str) -> Signature:
        self._digest.update(thoughts.encode())
        return self

    @property
    def text(self) -> str:
        return self._digest.hexdigest()
