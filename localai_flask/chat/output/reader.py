"""A model's text, piece by piece, to the events of an answer.

A small state machine. Outside of thinking and calls, text is passed on at once, except what can still become the
beginning of a marker (white space before a call's marker counts as part of it). Within thinking the same holds for the
mark that ends it. A call comes as soon as its name is known, its arguments as they are written; what began like a call
and is none is given back as content. How the text was cut makes no difference to what the events add up to.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import msgspec

from localai_flask.chat.answer import Content, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.chat.formats import ToolFormat
from localai_flask.chat.formats.base import NO_FUNCTIONS, Begun, Ended, Functions, Said, Step, Thinks
from localai_flask.chat.output.call_reader import CallReader
from localai_flask.chat.output.markers import Markers
from localai_flask.chat.output.reasoning_marks import Reasoning, TagPair
from localai_flask.chat.output.thinking import LONGEST_LEFT, Thinking
from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob

ENDED_BY_ITSELF = (FinishReason.EOS, FinishReason.STOP_SEQUENCE)


def new_call_id() -> str:
    return "call_" + uuid.uuid4().hex[:24]


class OutputReader:
    """Reads one answer.

    Without a `tool_format` nothing is a call, without `reasoning` nothing is a thought. `functions` are those that
    exist; with `once`, the first call is the only one. `lead` is text at the prompt's end that belongs to the answer's
    first marker. An answer that was cut keeps what was told of its last call, and its marks are not shown.
    """

    def __init__(
        self,
        tool_format: ToolFormat | None = None,
        new_id: Callable[[], str] = new_call_id,
        *,
        reasoning: Reasoning | None = None,
        functions: Functions = NO_FUNCTIONS,
        once: bool = False,
        lead: str = "",
    ):
        self._format = tool_format
        self._new_id = new_id
        self._reasoning = reasoning
        self._functions = functions
        self._once = once
        syntaxes = tool_format.syntaxes if tool_format else ()
        self._syntaxes = {syntax.opening: syntax for syntax in syntaxes}
        self._pairs = {pair.start: pair for pair in reasoning.pairs} if reasoning else {}
        self._trailers = tool_format.trailers if tool_format else ()
        self._markers = Markers([*self._syntaxes, *self._pairs, *self._trailers])
        self._held = self._unwritten = lead
        self._call: CallReader | None = None
        self._thinking: Thinking | None = None
        self._thoughts = 0
        self._thought_count = 0
        self._thought_tokens = 0
        self._calls = 0
        """How many calls have begun, and whether the last one is whole."""
        self._is_call_whole = True
        self._is_mute = False
        """The only call is whole: nothing that follows counts."""
        self._is_start = True
        """Nothing was said since the answer's beginning, or since a call."""
        self._is_after_call = False
        self._is_after_thought = False
        self._is_line_start = True
        self._logprobs: list[TokenLogprob] = []
        if reasoning and reasoning.opened:
            self._think(reasoning.opened, is_opened=True)

    def feed(self, delta: Delta) -> list[Event]:
        """Take the next piece of text and tell what it settles."""
        if delta.logprobs:
            self._logprobs += delta.logprobs
        events: list[Event] = []
        if self._format is None and self._reasoning is None:
            self._say(delta.text, events)
            return events
        was_thinking, thoughts = self._thinking is not None, self._thought_count
        self._held += delta.text
        while self._scan(events):
            pass
        if was_thinking or self._thought_count > thoughts:
            self._count(delta, events)
        return events

    def finish(self, finished: Finished) -> list[Event]:
        """Settle what is held; the last event is `Finish`."""
        events: list[Event] = []
        ended = finished.reason in ENDED_BY_ITSELF
        while ended and self._call is not None:
            self._tell(self._call, self._call.finish(), events)
            while self._scan(events):
                pass
        if self._thinking is not None:
            self._say_thought(self._thinking.finish(self._held, is_cut=not ended), events)
        elif self._call is not None:
            if self._call.is_bare and not self._call.has_begun:
                self._say(self._call.lead + self._call.unread, events)
        else:
            self._say_rest(self._held, ended, events)
        reason = finished.reason
        if self._calls and self._is_call_whole and ended:
            reason = FinishReason.TOOL_CALLS
        usage = msgspec.structs.replace(finished.usage, reasoning_tokens=self._thought_tokens)
        events.append(Finish(reason, usage, finished.timings, finished.stop_sequence, self._take_logprobs()))
        return events

    def _count(self, delta: Delta, events: list[Event]) -> None:
        """Count a piece's tokens as thinking, but for the part that its other text has in it."""
        others = sum(len(event.text) for event in events if isinstance(event, Content | ToolArguments))
        self._thought_tokens += round(delta.tokens * max(1 - others / max(len(delta.text), 1), 0))

    def _scan(self, events: list[Event]) -> bool:
        """Go on as far as one state reaches; tell whether another one follows."""
        if self._thinking is not None:
            return self._scan_thought(self._thinking, events)
        if self._call is not None:
            text, self._held = self._held, ""
            return self._tell(self._call, self._call.feed(text), events)
        return self._scan_text(events)

    def _scan_text(self, events: list[Event]) -> bool:
        """Pass on the text before the next marker; tell whether something begins there."""
        held, at = self._held, 0
        while found := self._markers.find(held, at):
            at, marker = found
            if self._counts(marker, held[:at]):
                self._say_before(held[:at], marker, events)
                self._held = held[at + len(marker) :]
                self._begin(marker, held[len(held[:at].rstrip()) : at + len(marker)])
                return True
            at += 1
        end = self._markers.begun_at(held, at)
        if self._format is not None or self._is_start or self._is_after_thought:
            end = len(held[:end].rstrip())
        self._say(held[:end], events)
        self._held = held[end:]
        return False

    def _counts(self, marker: str, before: str) -> bool:
        """Return whether a marker means something behind this text."""
        is_blank = not before.strip()
        if syntax := self._syntaxes.get(marker):
            return not syntax.is_bare or (self._is_start and is_blank)
        if marker in self._pairs:
            line = before.rpartition("\n")
            return not line[2].strip() and (self._is_line_start or bool(line[1]))
        return self._is_after_call and is_blank

    def _say_before(self, text: str, marker: str, events: list[Event]) -> None:
        if marker not in self._pairs:
            text = text.rstrip()
        elif self._is_start and text.isspace():
            text = ""
        self._say(text, events)

    def _begin(self, marker: str, lead: str) -> None:
        if syntax := self._syntaxes.get(marker):
            self._call = CallReader(syntax, lead, self._functions)
        elif pair := self._pairs.get(marker):
            self._think(pair)

    def _think(self, pair: TagPair, is_opened: bool = False) -> None:
        syntaxes = self._format.syntaxes if self._format is not None and self._format.ends_thinking else ()
        interrupts = [syntax.opening for syntax in syntaxes if not syntax.is_bare]
        self._thought_count += 1
        self._thinking = Thinking(pair, interrupts, is_opened)

    def _scan_thought(self, thinking: Thinking, events: list[Event]) -> bool:
        text, self._held, ended = thinking.scan(self._held)
        self._say_thought(text, events)
        if ended:
            self._thinking = None
            self._is_after_thought = self._is_line_start = True
        return ended

    def _tell(self, call: CallReader, steps: list[Step], events: list[Event]) -> bool:
        """Emit what a call's text has settled; return whether other text follows."""
        pair = None
        for step in steps:
            if isinstance(step, Thinks):
                pair = step.pair
            else:
                self._tell_step(step, events)
        if not call.is_done:
            return False
        self._call = None
        if call.is_refused:
            self._held = call.rest
            self._say(call.lead, events)
            return True
        self._unwritten, self._held = "", call.rest
        if not call.has_begun:
            self._is_line_start = self._is_start = True
        if pair is not None and self._reasoning is not None:
            self._think(pair)
        return True

    def _tell_step(self, step: Step, events: list[Event]) -> None:
        if self._is_mute:
            return
        match step:
            case Begun(name):
                self._is_after_call = self._is_start = self._is_line_start = True
                self._is_after_thought = self._is_call_whole = False
                events.append(ToolCallStart(self._calls, self._new_id(), name))
                self._calls += 1
            case Said(text):
                events.append(ToolArguments(self._calls - 1, text))
            case Ended():
                self._is_call_whole = True
                self._is_mute = self._once

    def _say(self, text: str, events: list[Event]) -> None:
        if self._is_after_thought:
            text = text.lstrip()
        if not text or self._is_mute:
            return
        text, self._unwritten = text.removeprefix(self._unwritten), ""
        if not text:
            return
        self._is_start = self._is_after_call = self._is_after_thought = False
        _, newline, line = text.rpartition("\n")
        self._is_line_start = not line.strip() and (self._is_line_start or bool(newline))
        events.append(Content(text, self._take_logprobs()))

    def _say_rest(self, text: str, ended: bool, events: list[Event]) -> None:
        if not ended and len(text) - (begun := self._markers.begun_at(text)) > LONGEST_LEFT:
            text = text[:begun].rstrip()
        is_closing = any(trailer.startswith(text.strip()) for trailer in self._trailers)
        if not (self._is_after_call and (is_closing or text.isspace())):
            self._say(text, events)

    def _say_thought(self, text: str, events: list[Event]) -> None:
        thinking = self._thinking
        if not text or self._is_mute or self._reasoning is None or self._reasoning.is_dropped or thinking is None:
            return
        if not thinking.is_told and self._thoughts:
            text = "\n\n" + text
        if not thinking.is_told:
            self._thoughts += 1
            thinking.is_told = True
        events.append(Thought(text, self._take_logprobs()))

    def _take_logprobs(self) -> list[TokenLogprob]:
        if not self._logprobs:
            return []
        taken, self._logprobs = self._logprobs, []
        return taken
