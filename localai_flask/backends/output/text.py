"""From the bytes of tokens to text that may leave an engine: whole UTF-8, cut before the first stop string.

Shared by all engines, one `TextStream` per sequence. Knows no tokens, no vocabulary and no job.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

from localai_flask.backends.output.text_automaton import START, TextAutomaton

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class TextStream:
    """Turns pieces of bytes into text, holding back what may still become a character or a stop string.

    The text ends before the first stop string to be complete, so of "end" and "end of story" the longer one never
    matches; of two that are complete at the same character, the longer one counts, so that no part of it is let out.
    With `keeps_stop` it ends behind it. The result depends on the bytes alone, not on how they were cut into pieces.
    Empty stop strings are ignored.
    """

    def __init__(self, stops: Iterable[str] = (), keeps_stop: bool = False):
        self.matched: str | None = None
        """The stop string that ended the text; nothing is released after it."""
        self._automaton = TextAutomaton(stops)
        self._state = START
        self._keeps_stop = keeps_stop
        # Most pieces hold no stop string's first character: one search in C then settles both questions below.
        firsts = "".join({re.escape(stop[0]) for stop in self._automaton.texts})
        self._may_begin = re.compile(f"[{firsts}]").search if firsts else None
        self._utf8 = _utf8_decoder("replace")
        self._is_split = False
        self._held = ""

    def feed(self, piece: bytes) -> str:
        """Take the next bytes and return the text that is safe to release, often none.

        Bytes that can never become UTF-8 turn into U+FFFD at once.
        """
        if not self._is_split and piece.isascii():
            text = piece.decode("ascii")
        else:
            text = self._utf8.decode(piece)
            self._is_split = bool(self._utf8.getstate()[0])
        return self._release(text) if self._may_begin else text

    def flush(self) -> str:
        """Return what was held back, at the end of generation, without the bytes of an unfinished character."""
        self._utf8.reset()
        held, self._held, self._state = self._held, "", START
        return held

    def _release(self, text: str) -> str:
        if self.matched is not None:
            return ""
        begin = 0
        if self._state == START:
            found = self._may_begin(text) if self._may_begin else None
            if found is None:
                return text
            begin = found.start()
        end = self._read(text, begin)
        whole = self._held + text[:end]
        released = len(whole) - self._automaton.depths[self._state]
        if self.matched is not None:
            released, self._state = len(whole) - (0 if self._keeps_stop else len(self.matched)), START
        self._held = "" if self.matched is not None else whole[released:]
        return whole[:released]

    def _read(self, text: str, begin: int) -> int:
        """Read on from `begin`; return where the text ends, or a stop string in it, and remember which."""
        automaton, state = self._automaton, self._state
        for at in range(begin, len(text)):
            state = automaton.step(state, text[at])
            self.matched = automaton.found[state]
            if self.matched is not None:
                self._state = state
                return at + 1
        self._state = state
        return len(text)
