"""A model's text, piece by piece, to the events of an answer.

A state machine: content, a thought, or a call. Content is passed on at once, except what can still become the beginning
of a marker (white space before a call's marker counts as part of it). Within thinking the same holds for the mark that
ends it. A call comes as soon as its name is known, its arguments as they are written; what began like a call and is
none is given back as content. How the text was cut makes no difference to what the events add up to, and reading takes
time in proportion to the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from localai_flask.chat.answer import Content, Event, Finish, ToolArguments
from localai_flask.chat.formats import ToolFormat
from localai_flask.chat.formats.base import NO_FUNCTIONS, CallSyntax, Functions, Step, Thinks
from localai_flask.chat.output.call_reader import CallReader
from localai_flask.chat.output.event_writer import Behind, EventWriter, new_call_id
from localai_flask.chat.output.markers import LONGEST_LEFT, HeldText, Markers
from localai_flask.chat.output.reasoning_marks import Reasoning, TagPair
from localai_flask.chat.output.thinking import Thinking
from localai_flask.generation import Delta, Finished, FinishReason

ENDED_BY_ITSELF = (FinishReason.EOS, FinishReason.STOP_SEQUENCE)


class State(Protocol):
    """What the text at hand is part of."""

    def feed(self, text: str) -> Change | None:
        """Take more text; return what follows, once this is at its end."""

    def finish(self, ended: bool) -> Change | None:
        """Settle what is held as no more is to come; `ended` unless the text was cut."""


class Change(NamedTuple):
    """The next state, and the text that it begins with."""

    state: State
    text: str


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
        drops_thoughts = reasoning is None or reasoning.is_dropped
        self._writer = EventWriter(new_id, once=once, lead=lead, drops_thoughts=drops_thoughts)
        self._grammar = _Grammar(tool_format, reasoning, functions, self._writer)
        self._state: State = self._grammar.content()
        if reasoning and reasoning.opened:
            self._state = self._grammar.thought(reasoning.opened, is_opened=True)
        self._lead = "" if self._grammar.is_plain else lead

    def feed(self, delta: Delta) -> list[Event]:
        """Take the next piece of text and return what it settles."""
        if delta.logprobs:
            self._writer.note_logprobs(delta.logprobs)
        thoughts, was_thinking = self._grammar.thoughts, isinstance(self._state, _ThoughtState | _PossibleThoughtState)
        text, self._lead = self._lead + delta.text, ""
        self._follow(self._state.feed(text))
        events = self._writer.take()
        if was_thinking or self._grammar.thoughts > thoughts:
            self._grammar.thought_tokens.add(delta, events)
        return events

    def finish(self, finished: Finished) -> list[Event]:
        """Settle what is held; the last event is `Finish`."""
        ended = finished.reason in ENDED_BY_ITSELF
        self._follow(self._state.feed(self._lead))
        while change := self._state.finish(ended):
            self._follow(change)
        reason = FinishReason.TOOL_CALLS if self._writer.ends_with_call and ended else finished.reason
        usage = msgspec.structs.replace(finished.usage, reasoning_tokens=self._grammar.thought_tokens.total)
        finish = Finish(reason, usage, finished.timings, finished.stop_sequence, self._writer.take_logprobs())
        return [*self._writer.take(), finish]

    def _follow(self, change: Change | None) -> None:
        while change is not None:
            self._state = change.state
            change = self._state.feed(change.text)


class _TokenCount:
    """Counts tokens of thoughts by the share that they have of a piece's text."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, delta: Delta, events: list[Event]) -> None:
        others = sum(len(event.text) for event in events if isinstance(event, Content | ToolArguments))
        self.total += round(delta.tokens * max(1 - others / max(len(delta.text), 1), 0))


class _Grammar:
    """The markers that count in one answer, and the states behind them."""

    def __init__(self, form: ToolFormat | None, reasoning: Reasoning | None, functions: Functions, writer: EventWriter):
        self.writer = writer
        self.functions = functions
        self.thoughts = 0
        """How many have begun."""
        self.thought_tokens = _TokenCount()
        self.syntaxes = {syntax.opening: syntax for syntax in (form.syntaxes if form else ())}
        self.pairs = {pair.start: pair for pair in reasoning.pairs} if reasoning else {}
        self.trailers = form.trailers if form else ()
        self.markers = Markers([*self.syntaxes, *self.pairs, *self.trailers])
        self.has_format = form is not None
        self.reads_thoughts = reasoning is not None
        self.is_plain = form is None and reasoning is None
        marks = form.syntaxes if form is not None and form.ends_thinking else ()
        self._interrupts = [syntax.opening for syntax in marks if not syntax.is_bare]

    def content(self) -> State:
        return _ContentState(self)

    def thought(self, pair: TagPair, *, is_opened: bool = False) -> State:
        self.thoughts += 1
        return _ThoughtState(self, Thinking(pair, self._interrupts, is_opened))

    def possible_thought(self, pair: TagPair) -> State:
        self.thoughts += 1
        return _PossibleThoughtState(self, Thinking(pair, self._interrupts, is_opened=False), pair.start)

    def call(self, syntax: CallSyntax, lead: str) -> State:
        return _CallState(self, CallReader(syntax, lead, self.functions))


class _ContentState:
    """Text that is shown, up to the next marker."""

    def __init__(self, grammar: _Grammar):
        self._grammar = grammar
        self._writer = grammar.writer
        self._held = HeldText()

    def feed(self, text: str) -> Change | None:
        if self._grammar.is_plain:
            self._writer.say(text)
            return None
        held = self._held
        at = held.add(text, self._grammar.markers.longest)
        while found := self._grammar.markers.find(held.text, at):
            at, marker = found
            before = held.text[:at]
            if self._counts(marker, before):
                self._say_before(before, marker)
                end = at + len(marker)
                return self._begin(marker, held.text[len(before.rstrip()) : end], held.text[end:])
            at += 1
        end = self._grammar.markers.begun_at(held.text, at)
        keeps_blank = self._grammar.has_format or self._writer.is_start or self._writer.behind is Behind.THOUGHT
        self._writer.say(held.take(end, keeps_blank=keeps_blank))
        return None

    def finish(self, ended: bool) -> Change | None:
        text = self._held.text
        if not ended and len(text) - (begun := self._grammar.markers.begun_at(text)) > LONGEST_LEFT:
            text = text[:begun].rstrip()
        is_closing = any(trailer.startswith(text.strip()) for trailer in self._grammar.trailers)
        if not (self._writer.behind is Behind.CALL and (is_closing or text.isspace())):
            self._writer.say(text)
        return None

    def _counts(self, marker: str, before: str) -> bool:
        """Return whether a marker means something behind this text."""
        is_blank = not before or before.isspace()
        if syntax := self._grammar.syntaxes.get(marker):
            return not syntax.is_bare or (self._writer.is_start and is_blank)
        if marker in self._grammar.pairs:
            _, newline, line = before.rpartition("\n")
            return not line.strip() and (self._writer.is_line_start or bool(newline))
        return self._writer.behind is Behind.CALL and is_blank

    def _say_before(self, text: str, marker: str) -> None:
        if marker not in self._grammar.pairs:
            text = text.rstrip()
        elif self._writer.is_start and text.isspace():
            text = ""
        self._writer.say(text)

    def _begin(self, marker: str, lead: str, rest: str) -> Change:
        if syntax := self._grammar.syntaxes.get(marker):
            return Change(self._grammar.call(syntax, lead), rest)
        if pair := self._grammar.pairs.get(marker):
            thought = self._grammar.thought if self._writer.is_start else self._grammar.possible_thought
            return Change(thought(pair), rest)
        return Change(self._grammar.content(), rest)  # behind a trailer, which is dropped


class _ThoughtState:
    """Text between the marks of thinking."""

    def __init__(self, grammar: _Grammar, thinking: Thinking):
        self._grammar = grammar
        self._thinking = thinking
        self._is_told = False

    def feed(self, text: str) -> Change | None:
        thought, rest = self._thinking.feed(text)
        self._think(thought)
        if rest is None:
            return None
        self._grammar.writer.end_thought()
        return Change(self._grammar.content(), rest)

    def finish(self, ended: bool) -> Change | None:
        self._think(self._thinking.finish(is_cut=not ended))
        return None

    def _think(self, text: str) -> None:
        if text:
            self._grammar.writer.think(text, is_first=not self._is_told)
            self._is_told = True


class _PossibleThoughtState:
    """Text behind a mark of thinking in the middle of an answer: a thought if it ends, else content like the mark."""

    def __init__(self, grammar: _Grammar, thinking: Thinking, mark: str):
        self._grammar = grammar
        self._thinking = thinking
        self._thought: list[str] = []
        self._read = [mark]
        self._tokens_before = grammar.thought_tokens.total

    def feed(self, text: str) -> Change | None:
        thought, rest = self._thinking.feed(text)
        self._thought.append(thought)
        self._read.append(text)
        if rest is None:
            return None
        self._grammar.writer.think("".join(self._thought), is_first=True)
        self._grammar.writer.end_thought()
        return Change(self._grammar.content(), rest)

    def finish(self, ended: bool) -> Change | None:
        self._grammar.thought_tokens.total = self._tokens_before
        self._grammar.writer.say("".join(self._read))
        return None


class _CallState:
    """Text behind a call's marker."""

    def __init__(self, grammar: _Grammar, call: CallReader):
        self._grammar = grammar
        self._call = call

    def feed(self, text: str) -> Change | None:
        return self._write(self._call.feed(text))

    def finish(self, ended: bool) -> Change | None:
        if ended:
            return self._write(self._call.finish())
        if self._call.is_bare and not self._call.has_begun:
            self._grammar.writer.say(self._call.lead + self._call.unread)
        return None

    def _write(self, steps: list[Step]) -> Change | None:
        """Write what the text has settled; return what follows a call that is at its end."""
        call, writer, pair = self._call, self._grammar.writer, None
        for step in steps:
            if isinstance(step, Thinks):
                pair = step.pair
            else:
                writer.call(step)
        if not call.is_done:
            return None
        if call.is_refused:
            writer.say(call.lead)
            return Change(self._grammar.content(), call.rest)
        writer.forget_lead()
        if not call.has_begun:
            writer.begin_message()
        if pair is not None and self._grammar.reads_thoughts:
            return Change(self._grammar.thought(pair), call.rest)
        return Change(self._grammar.content(), call.rest)
