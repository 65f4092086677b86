"""Content blocks of Anthropic's messages, and the house's messages that they become.

One message of Anthropic's may be several of ours: each tool result is a message of its own, in the role `tool`. What
this server cannot read is refused in a message that is asked now; in the past and in results it is shown as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.conversation.documents import INLINE, read_document
from localai_flask.api.conversation.foreign_past import foreign_text
from localai_flask.api.conversation.images import read_image
from localai_flask.api.conversation.media import shown_media
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.conversation import Message, Role, ToolCall
from localai_flask.chat.documents import shown_text

FAILED = "Error: "
"""What stands before the result of a call that failed, as chat templates have no other place for it."""
CHANGES = ("tool_addition", "tool_removal")


class Turn:
    """Collects the blocks of one message."""

    def __init__(self, role: Role, is_now: bool):
        self.role = role
        self.is_now = is_now
        self.messages: list[Message] = []
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []

    def close(self) -> list[Message]:
        """Return the messages that the blocks add up to."""
        if self.role == "assistant":
            reasoning = "\n\n".join(self.thoughts)
            content, calls = "".join(self.texts), tuple(self.calls)
            return [Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls)]
        self._flush()
        return self.messages or [Message(role=self.role)]

    def add_result(self, call_id: str, content: str) -> None:
        self._flush()
        self.messages.append(Message(role="tool", content=content, tool_call_id=call_id))

    def _flush(self) -> None:
        if self.texts:
            self.messages.append(Message(role=self.role, content="".join(self.texts)))
        self.texts = []


def read_messages(role: Role, content: Any, is_now: bool) -> list[Message]:
    """Read one message's content: text or blocks; `is_now` if it is what the request asks.

    Raises `ValidationError` with the index of the block that is wrong.
    """
    if isinstance(content, str):
        return [Message(role=role, content=content)]
    if not isinstance(content, list):
        raise ValidationError("must be a string or a list of content blocks.")
    turn = Turn(role, is_now)
    for index, block in enumerate(content):
        try:
            _read_block(turn, block)
        except ValidationError as error:
            raise ValidationError({index: error.messages}) from None
    return turn.close()


def read_text(content: Any, is_now: bool = True) -> str:
    """Read content that can only be text: a string or a list of text blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValidationError("must be a string or a list of text blocks.")
    texts = []
    for index, block in enumerate(content):
        try:
            texts.append(_plain_text(block, is_now))
        except ValidationError as error:
            raise ValidationError({index: error.messages}) from None
    return "\n".join(texts)


def _read_block(turn: Turn, block: Any) -> None:
    kind = _kind(block)
    readers = ASSISTANT_BLOCKS if turn.role == "assistant" else USER_BLOCKS
    if kind in readers:
        readers[kind](turn, block)
    elif turn.is_now and (kind in ASSISTANT_BLOCKS or kind in USER_BLOCKS):
        raise ValidationError({"type": [f"{kind} is not possible in the role {turn.role}."]})
    else:
        turn.texts.append(_plain_text(block, turn.is_now))


def _plain_text(block: Any, is_now: bool) -> str:
    """Return the text of a block that is nothing else, or of one that cannot be read, in the past."""
    kind = _kind(block)
    if kind == "text":
        return _text(block, "text")
    if kind == "image":
        return read_image(block).mark if is_now else shown_media(block)
    try:
        if kind == "document":
            return _document(block, is_now)
        if kind == "search_result":
            _check_citations(block, is_now)
            return f"{_text(block, 'title')} ({_text(block, 'source')})\n{read_text(block.get('content'), is_now)}"
    except ValidationError:
        if is_now:
            raise
    if kind == "compaction" and not is_now:
        return f"Summary of the conversation so far:\n{block.get('content') or ''}"
    if kind in CHANGES:  # read by the tools' side
        return ""
    if not is_now:
        return foreign_text(kind, block)
    raise ValidationError({"type": [Unsupported(f"{kind} is not supported by this server; leave it out.")]})


def _check_citations(block: dict[str, Any], is_now: bool) -> None:
    citations = block.get("citations")
    if is_now and isinstance(citations, dict) and citations.get("enabled"):
        problem = "asks for citations, which this server does not make; leave it out."
        raise ValidationError({"citations": [Unsupported(problem)]})


def _document(block: dict[str, Any], is_now: bool) -> str:
    _check_citations(block, is_now)
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") not in INLINE:
        return read_document(block).mark
    try:
        text = _text(source, "data") if source["type"] == "text" else _content(source.get("content"), is_now)
    except ValidationError as error:
        raise ValidationError({"source": error.messages}) from None
    name, context = (block[key] if isinstance(block.get(key), str) else "" for key in ("title", "context"))
    return shown_text(text, name, context)


def _content(content: Any, is_now: bool) -> str:
    """Read what a block has inside as text."""
    try:
        return read_text(content, is_now)
    except ValidationError as error:
        raise ValidationError({"content": error.messages}) from None


def _tool_use(turn: Turn, block: dict[str, Any]) -> None:
    arguments = block.get("input", {})
    if not isinstance(arguments, dict):
        raise ValidationError({"input": ["must be an object."]})
    text = json.dumps(arguments, ensure_ascii=False)
    turn.calls.append(ToolCall(_text(block, "id", least=1), _text(block, "name", least=1), text))


def _tool_result(turn: Turn, block: dict[str, Any]) -> None:
    call_id = _text(block, "tool_use_id", least=1)
    content = _content(block.get("content") or "", is_now=False)
    failed = block.get("is_error") or False
    if not isinstance(failed, bool):
        raise ValidationError({"is_error": ["must be true or false."]})
    turn.add_result(call_id, FAILED + content if failed else content)


def _thinking(turn: Turn, block: dict[str, Any]) -> None:
    turn.thoughts.append(_text(block, "thinking"))


def _pass_over(turn: Turn, block: dict[str, Any]) -> None:
    """Pass over what no model reads, such as thinking that another server has encrypted."""


Reader = Callable[[Turn, dict[str, Any]], None]
ASSISTANT_BLOCKS: dict[str, Reader] = {
    "tool_use": _tool_use,
    "thinking": _thinking,
    "redacted_thinking": _pass_over,
    "fallback": _pass_over,
    "mcp_tool_listing": _pass_over,
}
USER_BLOCKS: dict[str, Reader] = {"tool_result": _tool_result}


def _kind(block: Any) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise ValidationError(["must be an object with a `type`."])
    return kind


def _text(block: dict[str, Any], key: str, least: int = 0) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise ValidationError({key: ["must be a string."]})
    if len(value) < least:
        raise ValidationError({key: ["must not be empty."]})
    return value
