"""One stretch of a model's thinking, read from a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable

from localai_flask.chat.output.markers import Markers
from localai_flask.chat.output.reasoning_marks import TagPair


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

    def finish(self, held: str, is_cut: bool) -> str:
        """Give the thoughts in what is held if no more text is to come; of a text that was cut, no half mark."""
        text = held if self._has_begun else held.lstrip()
        if is_cut and len(text) - (begun := self._markers.begun_at(text)) > LONGEST_LEFT:
            text = text[:begun]
        return text.rstrip()


LONGEST_LEFT = 2
"""Characters that are left of a text's end that could become a marker, where the text was cut there."""
