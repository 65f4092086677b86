"""Writes the events of one answer, and knows what the next piece of text follows."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable

from localai_flask.chat.answer import Content, Event, Thought, ToolArguments, ToolCallStart
from localai_flask.chat.formats.base import Begun, Ended, Said
from localai_flask.generation import TokenLogprob


def new_call_id() -> str:
    return "call_" + uuid.uuid4().hex[:24]


class Behind(enum.Enum):
    """What the next piece of text follows."""

    NOTHING = enum.auto()
    TEXT = enum.auto()
    CALL = enum.auto()
    THOUGHT = enum.auto()


class EventWriter:
    """Collects events until they are taken.

    With `once`, nothing that follows the first whole call is written. `lead` is text at the prompt's end that an answer
    may repeat: it is not written again. With `drops_thoughts` no thought is written.
    """

    def __init__(self, new_id: Callable[[], str], *, once: bool = False, lead: str = "", drops_thoughts: bool = False):
        self._new_id = new_id
        self._once = once
        self._unwritten = lead
        self._drops_thoughts = drops_thoughts
        self._events: list[Event] = []
        self._logprobs: list[TokenLogprob] = []
        self._thoughts = self._calls = 0
        self._is_mute = False
        self._is_call_open = False
        self.behind = Behind.NOTHING
        self.is_start = True
        """No text was written since the answer's beginning, or since a call."""
        self.is_line_start = True

    @property
    def ends_with_call(self) -> bool:
        """Whether there are calls, and the last one is whole."""
        return self._calls > 0 and not self._is_call_open

    def note_logprobs(self, logprobs: list[TokenLogprob]) -> None:
        """Keep logprobs for the next event that carries some."""
        self._logprobs += logprobs

    def take_logprobs(self) -> list[TokenLogprob]:
        if not self._logprobs:
            return []
        taken, self._logprobs = self._logprobs, []
        return taken

    def take(self) -> list[Event]:
        """Return the events since the last time."""
        taken, self._events = self._events, []
        return taken

    def say(self, text: str) -> None:
        """Write content."""
        if self.behind is Behind.THOUGHT:
            text = text.lstrip()
        if not text or self._is_mute:
            return
        text, self._unwritten = text.removeprefix(self._unwritten), ""
        if not text:
            return
        self.is_start, self.behind = False, Behind.TEXT
        _, newline, line = text.rpartition("\n")
        self.is_line_start = not line.strip() and (self.is_line_start or bool(newline))
        self._events.append(Content(text, self.take_logprobs()))

    def think(self, text: str, *, is_first: bool) -> None:
        """Write a part of a thought, or the first of one."""
        if not text or self._is_mute or self._drops_thoughts:
            return
        if is_first:
            text = "\n\n" + text if self._thoughts else text
            self._thoughts += 1
        self._events.append(Thought(text, self.take_logprobs()))

    def end_thought(self) -> None:
        self.behind, self.is_line_start = Behind.THOUGHT, True

    def begin_message(self) -> None:
        """Count text from here as the beginning of an answer."""
        self.is_start = self.is_line_start = True

    def forget_lead(self) -> None:
        """Note that the prompt's end was the beginning of what has been read."""
        self._unwritten = ""

    def call(self, step: Begun | Said | Ended) -> None:
        """Write what a call's text has settled."""
        if self._is_mute:
            return
        match step:
            case Begun(name):
                self.begin_message()
                self.behind, self._is_call_open = Behind.CALL, True
                self._events.append(ToolCallStart(self._calls, self._new_id(), name))
                self._calls += 1
            case Said(text):
                self._events.append(ToolArguments(self._calls - 1, text))
            case Ended():
                self._is_call_open, self._is_mute = False, self._once
