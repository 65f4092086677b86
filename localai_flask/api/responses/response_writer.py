"""A response as it comes: from the events of an answer to those of Open Responses, and to the whole they add up to.

A whole response is what is left when its events have been written, so the streamed and the unstreamed cannot differ.
Knows neither HTTP nor where responses are kept.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localai_flask.api.answer.family_words import RESPONSES
from localai_flask.api.answer.frames import frame
from localai_flask.api.answer.logprobs import Logprob, render_logprobs
from localai_flask.api.responses import shapes
from localai_flask.api.responses.call_items import begin_call, finish_call
from localai_flask.api.responses.input.items import new_id, seal
from localai_flask.api.responses.tools import Offered
from localai_flask.chat.answer import Content, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.errors import ApiError
from localai_flask.generation import TokenLogprob, Usage

TERMINAL = frozenset({"completed", "failed", "incomplete", "cancelled"})

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class WrittenEvent:
    """One event of a response: its number, and its JSON; after the `last` one nothing comes."""

    sequence: int
    type: str
    data: bytes
    last: bool = False

    @property
    def frame(self) -> bytes:
        return frame(self.data, self.type)


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """How a request wants its answer to be written."""

    with_logprobs: bool = False
    summarizes: bool = False
    seals_thoughts: bool = False
    max_tool_calls: int | None = None
    offered: Mapping[str, Offered] = field(default_factory=dict)
    """The tools, by the model's names."""


class ResponseWriter:
    """Writes one response; each method returns the events that its argument makes."""

    def __init__(self, response: shapes.Response, options: WritingOptions, next_sequence: int = 0):
        self.response = response
        self.options = options
        self._sequence = next_sequence
        self._open: _Open | None = None
        self._calls: dict[int, shapes.Call] = {}
        self._finish: Finish | None = None

    def begin(self) -> list[WrittenEvent]:
        """Announce that the response exists."""
        return [self._snapshot("response.created")]

    def queue(self) -> list[WrittenEvent]:
        """Announce that it waits."""
        self.response.status = "queued"
        return [self._snapshot("response.created"), self._snapshot("response.queued")]

    def start(self) -> list[WrittenEvent]:
        """Announce that the model works on it."""
        self.response.status = "in_progress"
        return [self._snapshot("response.in_progress")]

    def progress(self, report: Mapping[str, Any]) -> WrittenEvent:
        """Announce how far the model is that has nothing to say yet."""
        return self._event("response.in_progress", response=self.response, **report)

    def feed(self, event: Event) -> list[WrittenEvent]:
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

    def close(self) -> list[WrittenEvent]:
        """Return the end of an answer that has come whole, with its last event."""
        assert self._finish is not None, "the answer has an end"
        reason = RESPONSES.finish[self._finish.reason]
        events = [] if self.response.output else self._open_message()
        events += self._close_item("incomplete" if reason else "completed")
        self.response.usage = usage(self._finish.usage)
        if reason:
            self.response.incomplete_details = shapes.IncompleteDetails(reason)
            return [*events, self._end("incomplete", "response.incomplete")]
        self.response.completed_at = int(time.time())
        return [*events, self._end("completed", "response.completed")]

    def fail(self, error: ApiError) -> list[WrittenEvent]:
        """Announce that the response ends with an error."""
        events, info = self._close_item("incomplete"), error.info
        code = RESPONSES.error(info.status)
        self.response.error = shapes.ResponseError(code, info.message, info.code, info.param)
        details: dict[str, Any] = {"type": info.type, "code": info.code, "message": info.message, "param": info.param}
        # OpenAI's package has an error's fields in the event, the specification has them in its `error`.
        events.append(self._event("error", **{**details, "type": "error", "error": details}))
        return [*events, self._end("failed", "response.failed")]

    def cancel(self) -> list[WrittenEvent]:
        """Announce that a client has cancelled the response; no event has a name for that."""
        return [*self._close_item("incomplete"), self._end("cancelled", "response.incomplete")]

    def withdraw(self, event: WrittenEvent) -> None:
        """Make as if the last event had not been written."""
        self._sequence = event.sequence

    def restore(self, events: list[dict[str, Any]]) -> None:
        """Take up what was written elsewhere, so that what it left open can be closed."""
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
                self.options = dataclasses.replace(self.options, summarizes=True)
                reasoning.summary = [shapes.SummaryText()]
            case shapes.Reasoning() as reasoning:
                reasoning.content = [shapes.ReasoningText()]

    def _end(self, status: shapes.Status, type: str) -> WrittenEvent:
        self.response.status = status
        return self._snapshot(type, last=True)

    def _snapshot(self, type: str, last: bool = False) -> WrittenEvent:
        return self._event(type, last=last, response=self.response)

    def _event(self, kind: str, /, *, last: bool = False, **fields: Any) -> WrittenEvent:
        number, self._sequence = self._sequence, self._sequence + 1
        return WrittenEvent(number, kind, encode({"type": kind, "sequence_number": number, **fields}), last)

    # Items: at most one is open, and it is the last.

    def _begin_item(self, item: shapes.OutputItem) -> list[WrittenEvent]:
        events = self._close_item("completed")
        self.response.output.append(item)
        self._open = _Open(item, len(self.response.output) - 1)
        return [*events, self._event("response.output_item.added", output_index=self._open.index, item=item)]

    def _part(self, kind: str, index: str, part: Any) -> WrittenEvent:
        assert self._open is not None
        place: dict[str, Any] = {**self._open.place, index: 0}
        return self._event(kind, **place, part=part)

    def _open_message(self) -> list[WrittenEvent]:
        if self._open is not None and isinstance(self._open.item, shapes.Message):
            return []
        message = shapes.Message(new_id("msg"))
        events = self._begin_item(message)
        message.content.append(shapes.OutputText())
        return [*events, self._part("response.content_part.added", "content_index", message.content[0])]

    def _open_reasoning(self) -> list[WrittenEvent]:
        if self._open is not None and isinstance(self._open.item, shapes.Reasoning):
            return []
        item = shapes.Reasoning(new_id("rs"))
        events = self._begin_item(item)
        if self.options.summarizes:
            item.summary.append(shapes.SummaryText())
            return [*events, self._part("response.reasoning_summary_part.added", "summary_index", item.summary[0])]
        item.content = [shapes.ReasoningText()]
        return [*events, self._part("response.content_part.added", "content_index", item.content[0])]

    def _open_call(self, index: int, id: str, name: str) -> Iterator[WrittenEvent]:
        if self.options.max_tool_calls is not None and len(self._calls) >= self.options.max_tool_calls:
            return
        item = self._calls[index] = begin_call(self.options.offered.get(name), id, name)
        yield from self._begin_item(item)

    # Deltas: pieces are kept apart until the item is closed, as text would be copied with every token.

    def _text_delta(self, text: str, logprobs: list[TokenLogprob]) -> WrittenEvent:
        assert self._open is not None
        rendered = render_logprobs(logprobs) if self.options.with_logprobs else []
        self._open.pieces.append(text)
        self._open.logprobs += rendered
        return self._event(
            "response.output_text.delta", **self._open.place, content_index=0, delta=text, logprobs=rendered
        )

    def _thought_delta(self, text: str) -> WrittenEvent:
        assert self._open is not None
        self._open.pieces.append(text)
        if self.options.summarizes:
            return self._event("response.reasoning_summary_text.delta", **self._open.place, summary_index=0, delta=text)
        return self._event("response.reasoning_text.delta", **self._open.place, content_index=0, delta=text)

    def _arguments_delta(self, index: int, text: str) -> list[WrittenEvent]:
        if index not in self._calls:
            return []
        assert self._open is not None
        assert self._open.item is self._calls[index], "the calls of an answer come one after the other"
        self._open.pieces.append(text)
        if not isinstance(self._open.item, shapes.FunctionCall):
            return []  # its text stands in the JSON, and comes when that is whole
        return [self._event("response.function_call_arguments.delta", **self._open.place, delta=text)]

    def _close_item(self, status: shapes.ItemStatus) -> list[WrittenEvent]:
        if self._open is None:
            return []
        opened, text = self._open, "".join(self._open.pieces)
        opened.item.status = status
        match opened.item:
            case shapes.Message():
                events = self._close_text(opened, opened.item.content[0], text)
            case shapes.Reasoning():
                events = self._close_thoughts(opened.item, text)
            case call:
                events = [self._event(kind, **opened.place, **more) for kind, more in finish_call(call, text)]
        self._open = None
        return [*events, self._event("response.output_item.done", output_index=opened.index, item=opened.item)]

    def _close_text(self, opened: _Open, part: shapes.OutputText, text: str) -> list[WrittenEvent]:
        if self.options.with_logprobs and self._finish is not None:
            opened.logprobs += render_logprobs(self._finish.logprobs)
        part.text, part.logprobs = text, opened.logprobs
        kind = "response.output_text.done"
        done = self._event(kind, **opened.place, content_index=0, text=text, logprobs=opened.logprobs)
        return [done, self._part("response.content_part.done", "content_index", part)]

    def _close_thoughts(self, item: shapes.Reasoning, text: str) -> list[WrittenEvent]:
        assert self._open is not None
        if self.options.seals_thoughts:
            item.encrypted_content = seal(text)
        if self.options.summarizes:
            item.summary[0].text = text
            kind = "response.reasoning_summary_text.done"
            done = self._event(kind, **self._open.place, summary_index=0, text=text)
            return [done, self._part("response.reasoning_summary_part.done", "summary_index", item.summary[0])]
        assert item.content is not msgspec.UNSET
        item.content[0].text = text
        done = self._event("response.reasoning_text.done", **self._open.place, content_index=0, text=text)
        return [done, self._part("response.content_part.done", "content_index", item.content[0])]


class _Open:
    """The item that is being written."""

    def __init__(self, item: shapes.OutputItem, index: int):
        self.item = item
        self.index = index
        self.place: dict[str, Any] = {"item_id": item.id, "output_index": index}
        self.pieces: list[str] = []
        self.logprobs: list[Logprob] = []


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
