"""One stretch of a model's thinking, read from a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable

from localai_flask.chat.output.markers import LONGEST_LEFT, HeldText, Markers
from localai_flask.chat.output.reasoning_marks import TagPair


class Thinking:
    """One stretch of thinking, which comes out without the white space around it."""

    def __init__(self, pair: TagPair, interrupts: Iterable[str], is_opened: bool):
        self._end = pair.end
        self._markers = Markers([pair.end, *interrupts])
        self._again = pair.start if is_opened else ""
        """The opening mark, which some models write although their prompt ended with it."""
        self._has_begun = False
        self._held = HeldText()

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take more text; return the thoughts in it, and what stands behind them once they are at their end."""
        held = self._held
        at = held.add(text if self._has_begun or held.text else text.lstrip(), self._markers.longest)
        if self._again and not self._has_begun:
            if held.text.startswith(self._again):
                held.text, self._again, at = held.text[len(self._again) :].lstrip(), "", 0
            elif self._again.startswith(held.text):
                return "", None
        if found := self._markers.find(held.text, at):
            at, marker = found
            rest = held.text[at + len(marker) :] if marker == self._end else held.text[at:]
            return held.text[:at].rstrip(), rest
        thoughts = held.take(self._markers.begun_at(held.text), keeps_blank=True)
        self._has_begun = self._has_begun or bool(thoughts)
        return thoughts, None

    def finish(self, is_cut: bool) -> str:
        """Return the thoughts in what is held if no more text is to come; of a text that was cut, no half mark."""
        text = self._held.text
        if is_cut and len(text) - (begun := self._markers.begun_at(text)) > LONGEST_LEFT:
            text = text[:begun]
        return text.rstrip()
