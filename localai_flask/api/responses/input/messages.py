"""From the items of a conversation to its messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localai_flask.api.conversation.foreign_past import foreign_text
from localai_flask.api.conversation.media import MEDIA_READERS, media_in, shown_media
from localai_flask.api.responses.call_items import written_call
from localai_flask.api.responses.input.items import TEXTS, Item, unsealed
from localai_flask.api.responses.tools import qualified
from localai_flask.chat.conversation import Message, Role, ToolCall

PASSED_OVER = frozenset(
    {
        "additional_tools",
        "compaction_trigger",
        "configuration_update",
        "item_reference",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
    }
)
"""Items that say something to a server, and nothing to a model."""
SUMMARY = "Summary of the conversation so far:"
LOST_SUMMARY = "A summary of the conversation so far stood here, which another server has encrypted."


def to_messages(items: Sequence[Item]) -> list[Message]:
    """Turn items into messages; what an assistant thought, said and called in a row is one message."""
    whole = _Conversation()
    for item in items:
        match item["type"]:
            case "reasoning":
                whole.begin_turn().thoughts.append(_thoughts(item))
            case "message" if item["role"] == "assistant":
                whole.begin_turn().texts.append(_joined(item["content"]))
            case "message":
                whole.add(_message(item["role"], item["content"]))
            case "compaction":
                summary = unsealed(item["encrypted_content"])
                text = LOST_SUMMARY if summary is None else f"{SUMMARY}\n{summary}"
                whole.add(Message(role="user", content=text))
            case kind if kind.endswith("_output"):
                whole.add_result(item)
            case kind if kind not in PASSED_OVER:
                whole.add_call(item)
    whole.end_turn()
    return whole.messages


class _Turn:
    """What an assistant did in a row."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []

    @property
    def has_spoken(self) -> bool:
        return bool(self.texts or self.calls)


class _Conversation:
    """The messages so far, and the assistant's turn that is not yet one of them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._turn = _Turn()
        self._names: dict[str, str] = {}
        """Of the functions that were called, by the calls' ids."""

    def begin_turn(self) -> _Turn:
        """Return the turn that takes thoughts and texts: a new one behind one that has spoken."""
        if self._turn.has_spoken:
            self.end_turn()
        return self._turn

    def end_turn(self) -> None:
        turn, self._turn = self._turn, _Turn()
        if turn.has_spoken or any(turn.thoughts):
            reasoning = "\n".join(filter(None, turn.thoughts))
            calls, content = tuple(turn.calls), "".join(turn.texts)
            self.messages.append(Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls))

    def add(self, message: Message) -> None:
        self.end_turn()
        self.messages.append(message)

    def add_call(self, item: Item) -> None:
        """Add a call; one that another server has carried out itself is text."""
        written = written_call(item)
        if written is None:
            self._turn.texts.append(foreign_text(item["type"], item))
            return
        id = item.get("call_id") or item["id"]
        self._names[id] = written[0]
        self._turn.calls.append(ToolCall(id, *written))

    def add_result(self, item: Item) -> None:
        if item["type"] in ("function_call_output", "custom_tool_call_output"):
            id, name = item["call_id"], qualified(item.get("name", ""), item.get("namespace", ""))
        else:
            id, name = item.get("call_id") or item["id"], ""
            if id not in self._names:
                self.add(Message(role="user", content=foreign_text(item["type"], item)))
                return
        name = self._names.get(id, name)
        media = media_in(item.get("output"))
        self.add(Message(role="tool", content=_output(item), tool_call_id=id, name=name, **media))


def _message(role: Role, parts: Sequence[Mapping[str, Any]]) -> Message:
    return Message(role=role, content=_joined(parts), **media_in(parts))


def _output(item: Item) -> str:
    output = item.get("output")
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(isinstance(part, dict) and "type" in part for part in output):
        return _joined(output)
    return foreign_text(item["type"], {key: value for key, value in item.items() if key != "call_id"})


def _thoughts(item: Item) -> str:
    sealed = unsealed(item.get("encrypted_content"))
    return _joined(item.get("content") or item["summary"]) if sealed is None else sealed


def _joined(parts: Iterable[Mapping[str, Any]]) -> str:
    return "".join(_part_text(part) for part in parts)


def _part_text(part: Mapping[str, Any]) -> str:
    if part["type"] in MEDIA_READERS:
        return shown_media(part)
    text = part.get(TEXTS.get(part["type"], ""))
    return text if isinstance(text, str) else foreign_text(part["type"], part)
