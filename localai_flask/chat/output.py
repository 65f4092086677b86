"""A model's text, piece by piece, to the events of an answer.

A small state machine: outside of a call, text is passed on at once, except what can still become the beginning of a
marker (white space before a marker counts as part of it); inside, text is held until the call is whole. What began like
a call and is none is given back as content. How the text was cut makes no difference to what the events add up to.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from localai_flask.chat.answer import Content, Event, Finish, ToolArguments, ToolCallStart
from localai_flask.chat.formats import ParsedCall, ToolFormat
from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob

ENDED_BY_ITSELF = (FinishReason.EOS, FinishReason.STOP_SEQUENCE)


def new_call_id() -> str:
    return "call_" + uuid.uuid4().hex[:24]


class OutputReader:
    """Reads one answer; `tool_format` None means that all text is content."""

    def __init__(self, tool_format: ToolFormat | None = None, new_id: Callable[[], str] = new_call_id):
        self._format = tool_format
        self._new_id = new_id
        self._held = ""
        self._lead = ""
        """The opening marker of the call being read, and the white space before it."""
        self._searched = 0
        """Where in a call's body to go on looking for its end."""
        self._calls = 0
        self._is_after_call = False
        self._logprobs: list[TokenLogprob] = []

    def feed(self, delta: Delta) -> list[Event]:
        """Take the next piece of text and tell what it settles."""
        if delta.logprobs:
            self._logprobs += delta.logprobs
        events: list[Event] = []
        if self._format is None:
            self._say(delta.text, events)
            return events
        self._held += delta.text
        while self._scan_call(self._format, events) if self._lead else self._scan_text(self._format, events):
            pass
        return events

    def finish(self, finished: Finished) -> list[Event]:
        """Settle what is held; the last event is `Finish`."""
        events: list[Event] = []
        if self._lead and self._format is not None:
            body = self._held.removesuffix(_begun(self._held, self._format.closing))
            if (calls := self._format.read(body)) is not None:
                self._call(calls, events)
            else:
                self._say(self._lead + self._held, events)
        elif not (self._is_after_call and self._held.isspace()):
            self._say(self._held, events)
        reason = finished.reason
        if self._calls and reason in ENDED_BY_ITSELF:
            reason = FinishReason.TOOL_CALLS
        events.append(Finish(reason, finished.usage, finished.timings, finished.stop_sequence, self._take_logprobs()))
        return events

    def _scan_text(self, form: ToolFormat, events: list[Event]) -> bool:
        """Pass on the text before the next call; tell whether a call begins."""
        held = self._held
        at = held.find(form.opening)
        end = at if at >= 0 else len(held) - len(_begun(held, form.opening))
        said = held[:end].rstrip()
        self._say(said, events)
        if at < 0:
            self._held = held[len(said) :]
            return False
        self._lead = held[len(said) : at + len(form.opening)]
        self._held = held[at + len(form.opening) :]
        self._searched = 0
        return True

    def _scan_call(self, form: ToolFormat, events: list[Event]) -> bool:
        """Look for the end of the call being read; tell whether it is settled."""
        body = self._held
        if not form.may_be_call(body):
            return self._give_back(0, events)
        while (end := body.find(form.closing, self._searched)) >= 0:
            after = end + len(form.closing)
            if (calls := form.read(body[:end])) is not None:
                self._call(calls, events)
                self._held = body[after:]
                return True
            if not form.is_inside_string(body[:end]):
                return self._give_back(after, events)
            self._searched = after
        self._searched = max(self._searched, len(body) - len(form.closing) + 1)
        return False

    def _give_back(self, end: int, events: list[Event]) -> bool:
        """Let what looked like a call be content, up to `end` of the held text."""
        text, self._held = self._lead + self._held[:end], self._held[end:]
        self._lead = ""
        self._say(text, events)
        return True

    def _say(self, text: str, events: list[Event]) -> None:
        if text:
            self._is_after_call = False
            events.append(Content(text, self._take_logprobs()))

    def _call(self, calls: list[ParsedCall], events: list[Event]) -> None:
        self._lead = ""
        self._is_after_call = True
        for call in calls:
            events.append(ToolCallStart(self._calls, self._new_id(), call.name))
            events.append(ToolArguments(self._calls, call.arguments))
            self._calls += 1

    def _take_logprobs(self) -> list[TokenLogprob]:
        if not self._logprobs:
            return []
        taken, self._logprobs = self._logprobs, []
        return taken


def _begun(text: str, marker: str) -> str:
    """The longest end of `text` that is a beginning of `marker`, short of the whole."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return marker[:length]
    return ""
