"""A model's answer, in one form for all API families: the events it arrives as, and the whole that they add up to.

Pure data; the families' JSON, whole or streamed, is made from these alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from localai_flask.chat.conversation import ToolCall
from localai_flask.generation import (
    Delta,
    Finished,
    FinishReason,
    PromptLogprobs,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)


class Content(msgspec.Struct, frozen=True):
    """More of the text that the client shall see; never empty.

    `logprobs` belong to all tokens since the last event that had some, also to those of markers and calls.
    """

    text: str
    logprobs: list[TokenLogprob] = []


class Thought(msgspec.Struct, frozen=True):
    """More of what the model thinks before it answers; never empty, and never part of the content."""

    text: str
    logprobs: list[TokenLogprob] = []


class ToolCallStart(msgspec.Struct, frozen=True):
    """A call begins; its id and name come once, whole."""

    index: int
    id: str
    name: str


class ToolArguments(msgspec.Struct, frozen=True):
    """More of the arguments (JSON text) of the call with this index."""

    index: int
    text: str


class Enough(msgspec.Struct, frozen=True):
    """Nothing that the model would go on to say is wanted; whoever runs it ends it, and asks for the last event."""


class Finish(msgspec.Struct, frozen=True):
    """The answer is complete; `logprobs` are those that no content was left to carry."""

    reason: FinishReason
    usage: Usage
    timings: Timings = Timings()
    stop_sequence: str | None = None
    logprobs: list[TokenLogprob] = []


Event = Started | PromptLogprobs | Content | Thought | ToolCallStart | ToolArguments | Enough | Finish


class Reader(Protocol):
    """Reads one answer: text in, events out."""

    def feed(self, delta: Delta) -> list[Event]: ...

    def finish(self, finished: Finished) -> list[Event]: ...


@dataclass
class Answer:
    """One whole answer, collected from its events."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None
    _pieces: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take the next event; `content` and `reasoning` are there after `Finish`."""
        match event:
            case PromptLogprobs(tokens):
                self.prompt_logprobs += tokens
            case Content(text, logprobs):
                self._pieces.append(text)
                self.logprobs += logprobs
            case Thought(text, logprobs):
                self._thoughts.append(text)
                self.logprobs += logprobs
            case ToolCallStart(_, id, name):
                self.tool_calls.append(ToolCall(id, name, ""))
            case ToolArguments(index, text):
                call = self.tool_calls[index]
                self.tool_calls[index] = ToolCall(call.id, call.name, call.arguments + text)
            case Finish():
                self.content = "".join(self._pieces)
                self.reasoning = "".join(self._thoughts)
                self.logprobs += event.logprobs
                self.finish = event
