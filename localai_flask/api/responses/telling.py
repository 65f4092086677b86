"""A response as it comes: from the events of an answer to those of Open Responses, and to the whole they add up to.

A whole response is what is left when its events have been told, so the streamed and the unstreamed cannot differ. Knows
neither HTTP nor where responses are kept.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localai_flask.api.openai.render import finite
from localai_flask.api.responses import shapes
from localai_flask.api.responses.call_items import begin_call, finish_call
from localai_flask.api.responses.items import new_id, seal
from localai_flask.api.responses.tools import Offered
from localai_flask.chat.answer import Content, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.errors import ApiError
from localai_flask.generation import FinishReason, TokenLogprob, Usage

INCOMPLETE: dict[FinishReason, str | None] = {
    FinishReason.EOS: None,
    FinishReason.STOP_SEQUENCE: None,
    FinishReason.MAX_TOKENS: "max_output_tokens",
    FinishReason.CONTEXT: "max_output_tokens",  # the specification has no word of its own for it
    FinishReason.TOOL_CALLS: None,
}
ERROR_CODES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}
"""By HTTP status; OpenAI's package knows but a few codes, and all others of ours are its `server_error`."""
TERMINAL = frozenset({"completed", "failed", "incomplete", "cancelled"})

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Told:
    """One event: its number, and its JSON; after the `last` one nothing comes."""

    sequence: int
    type: str
    data: bytes
    last: bool = False

    @property
    def frame(self) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (self.type.encode(), self.data)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a request wants its answer to be told."""

    with_logprobs: bool = False
    summarizes: bool = False
    seals_thoughts: bool = False
    max_tool_calls: int | None = None
    offered: Mapping[str, Offered] = field(default_factory=dict)
    """The tools, by the model's names."""


class Telling:
    """Tells one response; each method gives the events that its argument makes."""

    def __init__(self, response: shapes.Response, manner: Manner, next_sequence: int = 0):
        self.response = response
        self.manner = manner
        self._sequence = next_sequence
        self._open: _Open | None = None
        self._calls: dict[int, shapes.Call] = {}
        self._finish: Finish | None = None

    def begin(self) -> list[Told]:
        """Announce that the response exists."""
        return [self._snapshot("response.created")]

    def queue(self) -> list[Told]:
        """Announce that it waits."""
        self.response.status = "queued"
        return [self._snapshot("response.created"), self._snapshot("response.queued")]

    def start(self) -> list[Told]:
        """Announce that the model works on it."""
        self.response.status = "in_progress"
        return [self._snapshot("response.in_progress")]

    def progress(self, report: Mapping[str, Any]) -> Told:
        """Announce how far the model is that has nothing to say yet."""
        return self._tell("response.in_progress", response=self.response, **report)

    def feed(self, event: Event) -> list[Told]:
        """Return what one event of the answer changes."""
        match event:
            case Content(text, logprobs):
                return [*self._open_message(), self._text_delta(text, logprobs)]
            case Thought(text):
                return [*self._open_reasoning(), self._thought_delta(text)]
            case ToolCallStart(index, id, name):
                return list(self._open_call(index, id, name))
            case ToolArguments(index, text):
                return self._arguments_delta(index, text)
            case Finish():
                self._finish = event
        return []

    def close(self) -> list[Told]:
        """Return the end of an answer that has come whole, with its last event."""
        assert self._finish is not None, "the answer has an end"
        reason = INCOMPLETE[self._finish.reason]
        told = [] if self.response.output else self._open_message()
        told += self._close_item("incomplete" if reason else "completed")
        self.response.usage = usage(self._finish.usage)
        if reason:
            self.response.incomplete_details = shapes.IncompleteDetails(reason)
            return [*told, self._end("incomplete", "response.incomplete")]
        self.response.completed_at = int(time.time())
        return [*told, self._end("completed", "response.completed")]

    def fail(self, error: ApiError) -> list[Told]:
        """Announce that the response ends with an error."""
        told, info = self._close_item("incomplete"), error.info
        code = ERROR_CODES.get(info.status, "server_error")
        self.response.error = shapes.ResponseError(code, info.message, info.code, info.param)
        details: dict[str, Any] = {"type": info.type, "code": info.code, "message": info.message, "param": info.param}
        # OpenAI's package has an error's fields in the event, the specification has them in its `error`.
        told.append(self._tell("error", **{**details, "type": "error", "error": details}))
        return [*told, self._end("failed", "response.failed")]

    def cancel(self) -> list[Told]:
        """Announce that a client has cancelled the response; no event has a name for that."""
        return [*self._close_item("incomplete"), self._end("cancelled", "response.incomplete")]

    def take_back(self, told: Told) -> None:
        """Make as if the last event had not been told."""
        self._sequence = told.sequence

    def restore(self, events: list[dict[str, Any]]) -> None:
        """Take up what was told elsewhere, so that what it left open can be closed."""
        for event in events:
            match event["type"]:
                case "response.output_item.added":
                    self.response.output.append(_item(event))
                    self._open = _Open(self.response.output[-1], event["output_index"])
                case "response.output_item.done":
                    self.response.output[event["output_index"]] = _item(event)
                    self._open = None
                case "response.content_part.added" | "response.reasoning_summary_part.added":
                    self._restore_part(event)
                case _ if "delta" in event and self._open is not None:
                    self._open.pieces.append(event["delta"])

    def _restore_part(self, event: dict[str, Any]) -> None:
        assert self._open is not None
        match self._open.item:
            case shapes.Message() as message:
                message.content = [shapes.OutputText()]
            case shapes.Reasoning() as reasoning if "summary_index" in event:
                self.manner = dataclasses.replace(self.manner, summarizes=True)
                reasoning.summary = [shapes.SummaryText()]
            case shapes.Reasoning() as reasoning:
                reasoning.content = [shapes.ReasoningText()]

    def _end(self, status: shapes.Status, type: str) -> Told:
        self.response.status = status
        return self._snapshot(type, last=True)

    def _snapshot(self, type: str, last: bool = False) -> Told:
        return self._tell(type, last=last, response=self.response)

    def _tell(self, kind: str, /, *, last: bool = False, **fields: Any) -> Told:
        number, self._sequence = self._sequence, self._sequence + 1
        return Told(number, kind, encode({"type": kind, "sequence_number": number, **fields}), last)

    # Items: at most one is open, and it is the last.

    def _begin_item(self, item: shapes.OutputItem) -> list[Told]:
        told = self._close_item("completed")
        self.response.output.append(item)
        self._open = _Open(item, len(self.response.output) - 1)
        return [*told, self._tell("response.output_item.added", output_index=self._open.index, item=item)]

    def _part(self, kind: str, index: str, part: Any) -> Told:
        assert self._open is not None
        place: dict[str, Any] = {**self._open.place, index: 0}
        return self._tell(kind, **place, part=part)

    def _open_message(self) -> list[Told]:
        if self._open is not None and isinstance(self._open.item, shapes.Message):
            return []
        message = shapes.Message(new_id("msg"))
        told = self._begin_item(message)
        message.content.append(shapes.OutputText())
        return [*told, self._part("response.content_part.added", "content_index", message.content[0])]

    def _open_reasoning(self) -> list[Told]:
        if self._open is not None and isinstance(self._open.item, shapes.Reasoning):
            return []
        item = shapes.Reasoning(new_id("rs"))
        told = self._begin_item(item)
        if self.manner.summarizes:
            item.summary.append(shapes.SummaryText())
            return [*told, self._part("response.reasoning_summary_part.added", "summary_index", item.summary[0])]
        item.content = [shapes.ReasoningText()]
        return [*told, self._part("response.content_part.added", "content_index", item.content[0])]

    def _open_call(self, index: int, id: str, name: str) -> Iterator[Told]:
        if self.manner.max_tool_calls is not None and len(self._calls) >= self.manner.max_tool_calls:
            return
        item = self._calls[index] = begin_call(self.manner.offered.get(name), id, name)
        yield from self._begin_item(item)

    # Deltas: pieces are kept apart until the item is closed, as text would be copied with every token.

    def _text_delta(self, text: str, logprobs: list[TokenLogprob]) -> Told:
        assert self._open is not None
        rendered = _logprobs(logprobs) if self.manner.with_logprobs else []
        self._open.pieces.append(text)
        self._open.logprobs += rendered
        return self._tell(
            "response.output_text.delta", **self._open.place, content_index=0, delta=text, logprobs=rendered
        )

    def _thought_delta(self, text: str) -> Told:
        assert self._open is not None
        self._open.pieces.append(text)
        if self.manner.summarizes:
            return self._tell("response.reasoning_summary_text.delta", **self._open.place, summary_index=0, delta=text)
        return self._tell("response.reasoning_text.delta", **self._open.place, content_index=0, delta=text)

    def _arguments_delta(self, index: int, text: str) -> list[Told]:
        if index not in self._calls:
            return []
        assert self._open is not None
        assert self._open.item is self._calls[index], "the calls of an answer come one after the other"
        self._open.pieces.append(text)
        if not isinstance(self._open.item, shapes.FunctionCall):
            return []  # its text stands in the JSON, and comes when that is whole
        return [self._tell("response.function_call_arguments.delta", **self._open.place, delta=text)]

    def _close_item(self, status: shapes.ItemStatus) -> list[Told]:
        if self._open is None:
            return []
        opened, text = self._open, "".join(self._open.pieces)
        opened.item.status = status
        match opened.item:
            case shapes.Message():
                told = self._close_text(opened, opened.item.content[0], text)
            case shapes.Reasoning():
                told = self._close_thoughts(opened.item, text)
            case call:
                told = [self._tell(kind, **opened.place, **more) for kind, more in finish_call(call, text)]
        self._open = None
        return [*told, self._tell("response.output_item.done", output_index=opened.index, item=opened.item)]

    def _close_text(self, opened: _Open, part: shapes.OutputText, text: str) -> list[Told]:
        if self.manner.with_logprobs and self._finish is not None:
            opened.logprobs += _logprobs(self._finish.logprobs)
        part.text, part.logprobs = text, opened.logprobs
        kind = "response.output_text.done"
        done = self._tell(kind, **opened.place, content_index=0, text=text, logprobs=opened.logprobs)
        return [done, self._part("response.content_part.done", "content_index", part)]

    def _close_thoughts(self, item: shapes.Reasoning, text: str) -> list[Told]:
        assert self._open is not None
        if self.manner.seals_thoughts:
            item.encrypted_content = seal(text)
        if self.manner.summarizes:
            item.summary[0].text = text
            kind = "response.reasoning_summary_text.done"
            done = self._tell(kind, **self._open.place, summary_index=0, text=text)
            return [done, self._part("response.reasoning_summary_part.done", "summary_index", item.summary[0])]
        assert item.content is not msgspec.UNSET
        item.content[0].text = text
        done = self._tell("response.reasoning_text.done", **self._open.place, content_index=0, text=text)
        return [done, self._part("response.content_part.done", "content_index", item.content[0])]


class _Open:
    """The item that is being told."""

    def __init__(self, item: shapes.OutputItem, index: int):
        self.item = item
        self.index = index
        self.place: dict[str, Any] = {"item_id": item.id, "output_index": index}
        self.pieces: list[str] = []
        self.logprobs: list[shapes.Logprob] = []


def _item(event: dict[str, Any]) -> shapes.OutputItem:
    item: shapes.OutputItem = msgspec.convert(event["item"], shapes.OutputItem)
    return item


def usage(used: Usage) -> shapes.UsageShape:
    return shapes.UsageShape(
        used.prompt_tokens,
        shapes.InputTokensDetails(used.cached_tokens),
        used.completion_tokens,
        shapes.OutputTokensDetails(used.reasoning_tokens),
        used.total_tokens,
    )


def _logprobs(logprobs: Iterable[TokenLogprob]) -> list[shapes.Logprob]:
    rendered = []
    for entry in logprobs:
        top = [shapes.TopLogprob(_text(data), finite(logprob), list(data)) for _, data, logprob in entry.top]
        rendered.append(shapes.Logprob(_text(entry.text), finite(entry.logprob), list(entry.text), top))
    return rendered


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
