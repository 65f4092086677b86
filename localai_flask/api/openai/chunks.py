"""From events to OpenAI's streamed chunks.

The constant parts of a chunk are encoded once per stream, so that a token costs the encoding of its text and little
else.
"""

from __future__ import annotations

from collections.abc import Container
from typing import ClassVar

from localai_flask.api.answer.errors import encode_error
from localai_flask.api.answer.family_words import CHAT, LEGACY_CHAT
from localai_flask.api.answer.frames import DONE, failure, frame
from localai_flask.api.conversation.custom_tools import read_input
from localai_flask.api.openai.render import (
    Identity,
    LegacyLogprobs,
    chat_logprobs,
    encode,
    text_of,
    usage,
)
from localai_flask.api.openai.timings import SoFar, timed_alike, timings
from localai_flask.api.work.progress import Report
from localai_flask.chat.answer import Content, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.errors import ApiError
from localai_flask.generation import PromptLogprobs, Started, TokenLogprob
from localai_flask.metrics.sequence_meter import Measured

NULL = b"null"


class Chunks:
    """What both kinds of streamed completions have in common.

    Timings stand in the last chunk of each choice, or, of all together, beside the usage if that was asked for; with
    `so_far`, in each one.
    """

    kind = ""
    words = CHAT
    more: ClassVar[dict[str, str]] = {}
    """What else stands in each chunk."""

    def __init__(self, identity: Identity, n: int, include_usage: bool, so_far: SoFar | None = None):
        head = {
            "id": identity.id,
            "object": self.kind,
            "created": identity.created,
            "model": identity.model,
            "system_fingerprint": identity.fingerprint,
            **self.more,
        }
        self._head = encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._n = n
        self._include_usage = include_usage
        self._so_far = so_far
        self._finishes: dict[int, Finish] = {}

    def _progress(self, choice: bytes, report: Report) -> bytes:
        """Return a chunk of an empty choice that tells how far a sequence is."""
        usage = b'"usage":null,' if self._include_usage else b""
        return frame(b"%s%s],%s%s" % (self._head, choice, usage, encode(report)[1:]))

    def closing(self) -> bytes:
        """The usage, if it was asked for, and the end."""
        if not self._include_usage:
            return DONE
        finishes = [self._finishes[index] for index in sorted(self._finishes)]
        counts = encode(usage(finishes, self._n)), encode(timings(finishes))
        return frame(b'%s],"usage":%s,"timings":%s}' % (self._head, *counts)) + DONE

    def error(self, error: ApiError) -> bytes:
        return failure(encode_error(error.info))

    def _ending(self, index: int, finish: Finish | None) -> tuple[bytes, bytes]:
        """Return a chunk's finish reason, and what stands behind its choice."""
        measured = self._so_far(index) if self._so_far is not None else None
        if finish is None:
            return NULL, self._tail if measured is None else self._timed([measured])
        self._finishes[index] = finish = timed_alike(finish, measured)
        tail = self._tail if self._include_usage else self._timed([finish])
        return encode(self.words.finish[finish.reason]), tail

    def _timed(self, measured: list[Finish | Measured]) -> bytes:
        return b'%s,"timings":%s}' % (self._tail[:-1], encode(timings(measured)))


class ChatChunks(Chunks):
    """A stream of chat completion chunks; each choice begins with its role."""

    kind = "chat.completion.chunk"
    more: ClassVar[dict[str, str]] = {"service_tier": "default"}

    def __init__(
        self,
        identity: Identity,
        n: int,
        include_usage: bool,
        so_far: SoFar | None = None,
        customs: Container[str] = (),
    ):
        super().__init__(identity, n, include_usage, so_far)
        self._begun: set[int] = set()
        self._customs = customs
        self._texts: dict[tuple[int, int], list[str]] = {}
        """Arguments so far of calls with a text, by choice and number; it is told when its JSON is whole."""

    def feed(self, index: int, event: Event) -> bytes:
        """Frames for one event."""
        if index in self._begun:
            return self._render(index, event)
        self._begun.add(index)
        return self._chunk(index, b'{"role":"assistant","content":null}') + self._render(index, event)

    def progress(self, index: int, report: Report) -> bytes:
        """Return a chunk as llama-server makes it."""
        choice = (
            b'{"index":%d,"delta":{"role":"assistant","content":null},"logprobs":null,"finish_reason":null}' % index
        )
        return self._progress(choice, report)

    def _render(self, index: int, event: Event) -> bytes:
        match event:
            case Content(text, logprobs):
                return self._chunk(index, b'{"content":%s}' % encode(text), _logprobs(logprobs))
            case Thought(text, logprobs):
                thought = encode(text)  # clients read it under one of two names
                delta = b'{"reasoning_content":%s,"reasoning":%s}' % (thought, thought)
                return self._chunk(index, delta, _logprobs(logprobs))
            case ToolCallStart(number, id, name) if name in self._customs:
                self._texts[index, number] = []
                call = {"index": number, "id": id, "type": "custom", "custom": {"name": name, "input": ""}}
                return self._chunk(index, b'{"tool_calls":[%s]}' % encode(call))
            case ToolCallStart(number, id, name):
                call = {"index": number, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
                return self._chunk(index, b'{"tool_calls":[%s]}' % encode(call))
            case ToolArguments(number, text) if (index, number) in self._texts:
                self._texts[index, number].append(text)
                return b""
            case ToolArguments(number, text):
                piece = {"index": number, "function": {"arguments": text}}
                return self._chunk(index, b'{"tool_calls":[%s]}' % encode(piece))
            case Finish():
                return self._custom_inputs(index) + self._chunk(index, b"{}", _logprobs(event.logprobs), event)
            case _:
                return b""

    def _custom_inputs(self, index: int) -> bytes:
        """Render the texts of all calls of a custom tool, which are sent whole."""
        frames = b""
        for choice, number in [place for place in self._texts if place[0] == index]:
            piece = {"index": number, "custom": {"input": read_input("".join(self._texts.pop((choice, number))))}}
            frames += self._chunk(index, b'{"tool_calls":[%s]}' % encode(piece))
        return frames

    def _chunk(self, index: int, delta: bytes, logprobs: bytes = NULL, finish: Finish | None = None) -> bytes:
        parts = self._head, index, delta, logprobs, *self._ending(index, finish)
        return frame(b'%s{"index":%d,"delta":%s,"logprobs":%s,"finish_reason":%s}%s' % parts)


def _logprobs(logprobs: list[TokenLogprob]) -> bytes:
    return encode(chat_logprobs(logprobs)) if logprobs else NULL


class LegacyChatChunks(ChatChunks):
    """The same with calls as they were before there were tools."""

    words = LEGACY_CHAT

    def _render(self, index: int, event: Event) -> bytes:
        match event:
            case ToolCallStart(_, _, name):
                return self._chunk(index, b'{"function_call":%s}' % encode({"name": name, "arguments": ""}))
            case ToolArguments(_, text):
                return self._chunk(index, b'{"function_call":%s}' % encode({"arguments": text}))
        return super()._render(index, event)


class CompletionChunks(Chunks):
    """A stream of completion chunks; `echoed` is the text to put before each choice, None that of the prompt's tokens.

    With log-probabilities of the prompt, it is sent when these are complete.
    """

    kind = "text_completion"

    def __init__(self, identity: Identity, n: int, include_usage: bool, so_far: SoFar | None, echoed: list[str | None]):
        super().__init__(identity, n, include_usage, so_far)
        self._echoed = dict(enumerate(echoed))
        self._prompts: dict[int, list[TokenLogprob]] = {}
        self._logprobs: dict[int, LegacyLogprobs] = {}

    def feed(self, index: int, event: Event) -> bytes:
        """Frames for one event."""
        if isinstance(event, PromptLogprobs):
            self._prompts.setdefault(index, []).extend(event.tokens)
        if isinstance(event, Started | PromptLogprobs):
            return b""
        frame = self._echo(index) if index in self._echoed else b""
        match event:
            case Content(text, logprobs):
                return frame + self._chunk(index, text, logprobs)
            case Finish():
                return frame + self._chunk(index, "", event.logprobs, event)
            case _:
                return frame

    def progress(self, index: int, report: Report) -> bytes:
        """Return a chunk as llama-server makes it."""
        return self._progress(b'{"index":%d,"text":"","logprobs":null,"finish_reason":null}' % index, report)

    def _echo(self, index: int) -> bytes:
        prompt, text = self._prompts.get(index, []), self._echoed.pop(index)
        before = text_of(prompt) if text is None else text
        self._logprobs[index] = legacy = LegacyLogprobs(len(before))
        rendered = encode(legacy.prompt(prompt)) if prompt else NULL
        return self._frame(index, before, rendered) if before or prompt else b""

    def _chunk(self, index: int, text: str, logprobs: list[TokenLogprob], finish: Finish | None = None) -> bytes:
        rendered = encode(self._logprobs[index].add(logprobs)) if logprobs else NULL
        return self._frame(index, text, rendered, finish)

    def _frame(self, index: int, text: str, rendered: bytes, finish: Finish | None = None) -> bytes:
        parts = self._head, index, encode(text), rendered, *self._ending(index, finish)
        return frame(b'%s{"index":%d,"text":%s,"logprobs":%s,"finish_reason":%s}%s' % parts)
