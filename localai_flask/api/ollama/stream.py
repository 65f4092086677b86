"""From events to the lines of Ollama's streams; a call is told whole, once its arguments are."""

from __future__ import annotations

from typing import Any

import msgspec

from localai_flask.api.answer.logprobs import render_logprobs
from localai_flask.api.ollama.errors import encode_error
from localai_flask.api.ollama.render import Told, line, measured, now, tool_call
from localai_flask.api.work.progress import Report
from localai_flask.chat.answer import Content, Enough, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.chat.conversation import ToolCall
from localai_flask.errors import ApiError
from localai_flask.generation import PromptLogprobs, Started, TokenLogprob


class Lines:
    """One streamed answer, to a conversation or, if `is_chat` is false, to a prompt."""

    def __init__(self, model: str, told: Told, *, is_chat: bool):
        self._model, self._told, self._is_chat = model, told, is_chat
        self._call: ToolCall | None = None
        """The call whose arguments are coming."""
        self._calls = 0

    def feed(self, _: int, event: Event) -> bytes:
        """Lines for one event."""
        match event:
            case Content(text, logprobs):
                return self._called() + self._line({"content": text}, logprobs)
            case Thought(text, logprobs):
                return self._called() + self._line({"content": "", "thinking": text}, logprobs)
            case ToolCallStart(_, id, name):
                before = self._called()
                self._call = ToolCall(id, name, "")
                return before
            case ToolArguments(_, text):
                assert self._call is not None, "arguments come behind the start of their call"
                self._call = ToolCall(self._call.id, self._call.name, self._call.arguments + text)
                return b""
            case Finish():
                ending = measured(event, self._told)
                return self._called() + self._line({"content": ""}, event.logprobs, **ending)
            case Started() | PromptLogprobs() | Enough():
                return b""

    def progress(self, _: int, report: Report) -> bytes:
        """Return a line without text that has the report."""
        return self._line({"content": ""}, [], **report)

    def closing(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        return encode_error(error.info) + b"\n"

    def _called(self) -> bytes:
        """Return the frame of the call that is complete, if one is."""
        call, self._call = self._call, None
        if call is None:
            return b""
        self._calls += 1
        return self._line({"content": "", "tool_calls": [tool_call(self._calls - 1, call)]}, [])

    def _line(self, said: dict[str, Any], logprobs: list[TokenLogprob], **more: Any) -> bytes:
        told: dict[str, Any] = {"model": self._model, "created_at": now()}
        if self._is_chat:
            told["message"] = {"role": "assistant", **said}
        else:
            told["response"] = said.pop("content")
            told |= said
        if self._told.logprobs and logprobs:
            told["logprobs"] = render_logprobs(logprobs)
        return line({**told, "done": False, **more})


def single(model: str, reason: str, *, is_chat: bool) -> bytes:
    """Return the one line that says that a model was loaded, or leaves."""
    said: dict[str, Any] = {"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}
    return msgspec.json.encode({"model": model, "created_at": now(), **said, "done": True, "done_reason": reason})
