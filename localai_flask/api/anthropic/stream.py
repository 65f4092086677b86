"""From events to Anthropic's streamed events: blocks that open and close one after the other."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from localai_flask.api.answer.frames import frame
from localai_flask.api.anthropic.errors import encode_error
from localai_flask.api.anthropic.render import Signature, encode, stop_reason, tool_use_id, usage
from localai_flask.api.work.progress import Report
from localai_flask.chat.answer import Content, Enough, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.errors import ApiError
from localai_flask.generation import PromptLogprobs, Started, Usage

PING = frame(b'{"type":"ping"}', "ping")


class MessageEvents:
    """One streamed message; `stops` are the client's own stop sequences."""

    def __init__(
        self,
        id: str,
        model: str,
        stops: Container[str],
        *,
        request_id: str,
        shows_thinking: bool,
        hides_thoughts: bool,
        has_answer: bool,
        keep_s: int,
    ):
        self._id, self._model, self._stops, self._request_id = id, model, stops, request_id
        self._shows_thinking, self._hides_thoughts = shows_thinking, hides_thoughts
        self._has_answer = has_answer
        self._keep_s = keep_s
        self._is_begun = False
        self._index = -1
        self._open = ""
        """The type of the block that is open, "" if none is."""
        self._signature = Signature()

    def feed(self, _: int, event: Event) -> bytes:
        """Frames for one event."""
        match event:
            case Started():
                return self._begin(Usage(event.prompt_tokens, 0, event.cached_tokens, kept_tokens=event.kept_tokens))
            case Content(text):
                return self._block("text", {"text": "", "citations": None}) + self._delta("text_delta", "text", text)
            case Thought(text):
                return self._think(text)
            case ToolCallStart(_, id, name):
                return self._close() + self._block("tool_use", {"id": tool_use_id(id), "name": name, "input": {}})
            case ToolArguments(_, text):
                return self._delta("input_json_delta", "partial_json", text)
            case Finish():
                return self._finish(event)
            case PromptLogprobs() | Enough():
                return b""

    def progress(self, _: int, report: Report) -> bytes:
        """Return a ping with the report, which official clients pass over."""
        return _frame("ping", report)

    def closing(self) -> bytes:
        return _frame("message_stop", {})

    def error(self, error: ApiError) -> bytes:
        return frame(encode_error(error.info, self._request_id), "error")

    def _begin(self, used: Usage) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage(used, self._keep_s),
        }
        return _frame("message_start", {"message": message}) + PING

    def _think(self, text: str) -> bytes:
        if not self._shows_thinking:
            return b""
        frames = self._block("thinking", {"thinking": "", "signature": ""})
        self._signature.add(text)
        return frames if self._hides_thoughts else frames + self._delta("thinking_delta", "thinking", text)

    def _finish(self, finish: Finish) -> bytes:
        frames = self._begin(finish.usage)
        if self._index < 0 and self._has_answer:
            frames += self._block("text", {"text": "", "citations": None})
        reason, sequence = stop_reason(finish, self._stops)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        return (
            frames
            + self._close()
            + _frame("message_delta", {"delta": delta, "usage": usage(finish.usage, self._keep_s)})
        )

    def _block(self, kind: str, empty: dict[str, Any]) -> bytes:
        """Open a block unless it is open."""
        if self._open == kind:
            return b""
        frames = self._close()
        self._open = kind
        self._index += 1
        return frames + _frame("content_block_start", {"index": self._index, "content_block": {"type": kind, **empty}})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        frames = b""
        if self._open == "thinking":
            frames = self._delta("signature_delta", "signature", self._signature.text)
            self._signature = Signature()
        self._open = ""
        return frames + _frame("content_block_stop", {"index": self._index})

    def _delta(self, kind: str, key: str, text: str) -> bytes:
        return _frame("content_block_delta", {"index": self._index, "delta": {"type": kind, key: text}})


def _frame(kind: str, body: dict[str, Any]) -> bytes:
    return frame(encode({"type": kind, **body}), kind)
