"""A model's text, piece by piece, to the events of an answer.

A small state machine. Outside of thinking and calls, text is passed on at once, except what can still become the
beginning of a marker (white space before a call's marker counts as part of it). Within thinking the same holds for the
mark that ends it. A call is held until it is whole; what began like one and is none is given back as content. How the
text was cut makes no difference to what the events add up to.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable

from localai_flask.chat.answer import Content, Event, Finish, Thought, ToolArguments, ToolCallStart
from localai_flask.chat.formats import CallSyntax, ParsedCall, Refused, ToolFormat
from localai_flask.chat.reasoning import Reasoning, TagPair
from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob

ENDED_BY_ITSELF = (FinishReason.EOS, FinishReason.STOP_SEQUENCE)


def new_call_id() -> str:
    return "call_" + uuid.uuid4().hex[:24]


class Markers:
    """A set of markers, found in a text or at its end, where one may only have begun."""

    def __init__(self, markers: Iterable[str]):
        self._all = sorted(set(markers), key=len, reverse=True)
        self._search = re.compile("|".join(map(re.escape, self._all))).search if self._all else None
        firsts = "".join({re.escape(marker[0]) for marker in self._all})
        self._may_begin = re.compile(f"[{firsts}]").search if firsts else None

    def find(self, text: str, start: int) -> tuple[int, str] | None:
        """Find the first marker from `start` on, the longest if several stand there."""
        found = self._search(text, start) if self._search else None
        return None if found is None else (found.start(), found.group())

    def begun_at(self, text: str, start: int = 0) -> int:
        """Give where the ending of `text` begins that may become a marker, or the end of the text."""
        longest = len(self._all[0]) if self._all else 0
        at = max(len(text) - longest + 1, start)
        while self._may_begin and (found := self._may_begin(text, at)):
            ending = text[found.start() :]
            if any(len(marker) > len(ending) and marker.startswith(ending) for marker in self._all):
                return found.start()
            at = found.start() + 1
        return len(text)


class OutputReader:
    """Reads one answer.

    Without a `tool_format` nothing is a call, without `reasoning` nothing is a thought. `tools` are the names of the
    functions that exist; with `once`, the first call is the only one. `lead` is text at the prompt's end that belongs
    to the answer's first marker.
    """

    def __init__(
        self,
        tool_format: ToolFormat | None = None,
        new_id: Callable[[], str] = new_call_id,
        *,
        reasoning: Reasoning | None = None,
        tools: frozenset[str] = frozenset(),
        once: bool = False,
        lead: str = "",
    ):
        self._format = tool_format
        self._new_id = new_id
        self._reasoning = reasoning
        self._tools = tools
        self._once = once
        syntaxes = tool_format.syntaxes if tool_format else ()
        self._syntaxes = {syntax.opening: syntax for syntax in syntaxes}
        self._pairs = {pair.start: pair for pair in reasoning.pairs} if reasoning else {}
        trailers = tool_format.trailers if tool_format else ()
        self._markers = Markers([*self._syntaxes, *self._pairs, *trailers])
        self._held = self._unwritten = lead
        self._lead = ""
        """The opening marker of the call being read, and the white space before it."""
        self._syntax: CallSyntax | None = None
        self._seen = 0
        """How much of a call's body was judged before."""
        self._thinking: Thinking | None = None
        self._thoughts = 0
        self._calls = 0
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
        self._held += delta.text
        while self._scan(events):
            pass
        return events

    def finish(self, finished: Finished) -> list[Event]:
        """Settle what is held; the last event is `Finish`."""
        events: list[Event] = []
        ended = finished.reason in ENDED_BY_ITSELF
        if self._thinking is not None:
            self._say_thought(self._thinking.finish(self._held), events)
        elif self._syntax is not None:
            calls = self._syntax.finish(self._held) if ended else None
            if calls is not None and self._are_callable(calls):
                self._call(calls, events)
            else:
                self._say(self._lead + self._held, events)
        else:
            self._say_rest(self._held, events)
        reason = finished.reason
        if self._calls and ended:
            reason = FinishReason.TOOL_CALLS
        events.append(Finish(reason, finished.usage, finished.timings, finished.stop_sequence, self._take_logprobs()))
        return events

    def _scan(self, events: list[Event]) -> bool:
        """Go on as far as one state reaches; tell whether another one follows."""
        if self._thinking is not None:
            return self._scan_thought(self._thinking, events)
        if self._syntax is not None:
            return self._scan_call(self._syntax, events)
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
        """Tell whether a marker means something behind this text."""
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
            self._syntax, self._lead, self._seen = syntax, lead, 0
        elif pair := self._pairs.get(marker):
            self._think(pair)

    def _think(self, pair: TagPair, is_opened: bool = False) -> None:
        interrupts = self._syntaxes if self._format is not None and self._format.ends_thinking else ()
        self._thinking = Thinking(pair, interrupts, is_opened)

    def _scan_thought(self, thinking: Thinking, events: list[Event]) -> bool:
        text, self._held, ended = thinking.scan(self._held)
        self._say_thought(text, events)
        if ended:
            self._thinking = None
            self._is_after_thought = self._is_line_start = True
        return ended

    def _scan_call(self, syntax: CallSyntax, events: list[Event]) -> bool:
        """Look for the end of the call being read; tell whether it is settled."""
        body = self._held
        verdict = syntax.scan(body, self._seen)
        if verdict is None:
            self._seen = len(body)
            return False
        if isinstance(verdict, Refused) or (syntax.is_bare and not self._are_callable(verdict.calls)):
            end = verdict.end if isinstance(verdict, Refused) else 0
            text, self._held = self._lead + body[:end], body[end:]
            self._syntax = None
            self._say(text, events)
        else:
            self._call(verdict.calls, events)
            self._held = body[verdict.end :]
        return True

    def _are_callable(self, calls: list[ParsedCall]) -> bool:
        bare = self._syntax is not None and self._syntax.is_bare
        return not bare or all(call.name in self._tools for call in calls)

    def _say(self, text: str, events: list[Event]) -> None:
        if self._is_after_thought:
            text = text.lstrip()
        if not text:
            return
        text, self._unwritten = text.removeprefix(self._unwritten), ""
        if not text:
            return
        self._is_start = self._is_after_call = self._is_after_thought = False
        _, newline, line = text.rpartition("\n")
        self._is_line_start = not line.strip() and (self._is_line_start or bool(newline))
        events.append(Content(text, self._take_logprobs()))

    def _say_rest(self, text: str, events: list[Event]) -> None:
        if not (self._is_after_call and text.isspace()):
            self._say(text, events)

    def _say_thought(self, text: str, events: list[Event]) -> None:
        thinking = self._thinking
        if not text or self._reasoning is None or self._reasoning.is_dropped or thinking is None:
            return
        if not thinking.is_told and self._thoughts:
            text = "\n\n" + text
        if not thinking.is_told:
            self._thoughts += 1
            thinking.is_told = True
        events.append(Thought(text, self._take_logprobs()))

    def _call(self, calls: list[ParsedCall], events: list[Event]) -> None:
        self._syntax, self._unwritten = None, ""
        if not calls:
            return
        self._is_after_call = self._is_start = self._is_line_start = True
        self._is_after_thought = False
        for call in calls:
            if self._once and self._calls:
                break
            events.append(ToolCallStart(self._calls, self._new_id(), call.name))
            events.append(ToolArguments(self._calls, call.arguments))
            self._calls += 1

    def _take_logprobs(self) -> list[TokenLogprob]:
        if not self._logprobs:
            return []
        taken, self._logprobs = self._logprobs, []
        return taken


class Thinking:
    """One stretch of thinking, which comes out without the white space around it."""

    def __init__(self, pair: TagPair, interrupts: Iterable[str], is_opened: bool):
        self._end = pair.end
        self._markers = Markers([pair.end, *interrupts])
        self._again = pair.start if is_opened else ""
        """The opening mark, which some models write although their prompt ended with it."""
        self._has_begun = False
        self.is_told = False

    def scan(self, held: str) -> tuple[str, str, bool]:
        """Give the thoughts in a text, what to hold of it, and whether the thinking ends there."""
        if not self._has_begun:
            held = held.lstrip()
            if self._again and held.startswith(self._again):
                held, self._again = held[len(self._again) :].lstrip(), ""
            elif self._again and self._again.startswith(held):
                return "", held, False
        if found := self._markers.find(held, 0):
            at, marker = found
            rest = held[at + len(marker) :] if marker == self._end else held[at:]
            return held[:at].rstrip(), rest, True
        end = len(held[: self._markers.begun_at(held)].rstrip())
        self._has_begun = self._has_begun or end > 0
        return held[:end], held[end:], False

    def finish(self, held: str) -> str:
        """Give the thoughts in what is held if no more text is to come."""
        text = held if self._has_begun else held.lstrip()
        return text.rstrip()
