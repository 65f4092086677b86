"""An answer that ends where a line is less indented than it should be, as editors ask for the rest of a block."""

from __future__ import annotations

import re

from localai_flask.chat.answer import Content, Enough, Event, Reader
from localai_flask.generation import Delta, Finished

_SPACE = re.compile(r"\s*")


class IndentedReader:
    """Ends another reader's text before the first line that has less than `least` characters of white space before it.

    The line that the answer begins in does not count, nor do empty ones.
    """

    def __init__(self, reader: Reader, least: int):
        self._reader, self._least = reader, least
        self._held = ""
        """White space from a line's end on, of which it is not known yet what follows."""
        self._is_over = False

    def feed(self, delta: Delta) -> list[Event]:
        return self._bounded(self._reader.feed(delta))

    def finish(self, finished: Finished) -> list[Event]:
        events = self._bounded(self._reader.finish(finished))
        held, self._held = self._held, ""
        return [Content(held), *events] if held and not self._is_over else events

    def _bounded(self, events: list[Event]) -> list[Event]:
        kept: list[Event] = []
        for event in events:
            if not isinstance(event, Content):
                kept.append(event)
            elif not self._is_over:
                kept += [Content(text)] if (text := self._passed(event.text)) else []
                kept += [Enough()] if self._is_over else []
        return kept

    def _passed(self, text: str) -> str:
        """Take more text, and return what may be shown of all so far."""
        rest, passed = self._held + text, ""
        self._held = ""
        while rest:
            line, newline, _ = rest.partition("\n")
            passed, rest = passed + line, rest[len(line) :]
            if not newline:
                return passed
            found = _SPACE.match(rest)
            assert found is not None, "it matches anything"
            if found.end() == len(rest):
                self._held = rest
                return passed
            if len(found[0].rpartition("\n")[2]) < self._least:
                self._is_over = True
                return passed
            passed, rest = passed + found[0], rest[found.end() :]
        return passed
