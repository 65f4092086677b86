"""From the bytes of tokens to text that may leave an engine: whole UTF-8, cut before the first stop string.

Shared by all engines, one `TextStream` per sequence. Knows no tokens, no vocabulary and no job.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class TextStream:
    """Turns pieces of bytes into text, holding back what may still become a character or a stop string.

    The text ends before the first stop string to be complete, so of "end" and "end of story" the longer one never
    matches; of two that are complete at the same character, the longer one counts, so that no part of it is let out.
    The result depends on the bytes alone, not on how they were cut into pieces. Empty stop strings are ignored.
    """

    def __init__(self, stops: Iterable[str] = ()):
        self.matched: str | None = None
        """The stop string that ended the text; nothing is released after it."""
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        # Most pieces hold no stop string's first character: one search in C then settles both questions below.
        firsts = "".join({re.escape(stop[0]) for stop in self._stops})
        self._may_begin = re.compile(f"[{firsts}]").search if firsts else None
        self._utf8 = _utf8_decoder("replace")
        self._is_split = False
        self._held = ""

    def feed(self, piece: bytes) -> str:
        """Take the next bytes and give the text that is safe to release, often none.

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
        held, self._held = self._held, ""
        return held

    def _release(self, text: str) -> str:
        if self.matched is not None:
            return ""
        text = self._held + text
        begin = self._may_begin(text) if self._may_begin else None
        if begin is None:
            self._held = ""
            return text
        end = self._match(text)
        if end is None:
            end = self._safe_length(text, begin.start())
            self._held = text[end:]
        return text[:end]

    def _match(self, text: str) -> int | None:
        """Return where the text ends if a stop string is complete in it, and remember which."""
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if not found:
            return None
        _, start, self.matched = min(found)
        self._held = ""
        return start

    def _safe_length(self, text: str, begin: int) -> int:
        """Count the characters before the longest ending of `text`, from `begin` on, that a stop string begins with."""
        for start in range(max(begin, len(text) - self._longest + 1), len(text)):
            ending = text[start:]
            if any(stop.startswith(ending) for stop in self._stops):
                return start
        return len(text)
