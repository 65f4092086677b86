"""Finding markers in a text that comes in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_LEFT = 2
"""Characters that are left of a text's end that could become a marker, where the text was cut there."""

_NOT_BLANK = re.compile(r"\S")


class Markers:
    """A set of markers, found in a text or at its end, where one may only have begun."""

    def __init__(self, markers: Iterable[str]):
        self._all = sorted(set(markers), key=len, reverse=True)
        self._search = re.compile("|".join(map(re.escape, self._all))).search if self._all else None
        firsts = "".join({re.escape(marker[0]) for marker in self._all})
        self._may_begin = re.compile(f"[{firsts}]").search if firsts else None
        self.longest = len(self._all[0]) if self._all else 0

    def find(self, text: str, start: int) -> tuple[int, str] | None:
        """Find the first marker from `start` on, the longest if several stand there."""
        found = self._search(text, start) if self._search else None
        return None if found is None else (found.start(), found.group())

    def begun_at(self, text: str, start: int = 0) -> int:
        """Return where the ending of `text` begins that may become a marker, or the end of the text."""
        at = max(len(text) - self.longest + 1, start)
        while self._may_begin and (found := self._may_begin(text, at)):
            ending = text[found.start() :]
            if any(len(marker) > len(ending) and marker.startswith(ending) for marker in self._all):
                return found.start()
            at = found.start() + 1
        return len(text)


class HeldText:
    """Text that is not passed on yet: white space, and behind it what may become a marker.

    Nothing is looked at twice, however much white space comes.
    """

    def __init__(self) -> None:
        self.text = ""
        self._blank = 0
        """How far the text is known to be white space."""

    def add(self, text: str, longest: int) -> int:
        """Take more text; return from where on a marker of at most `longest` characters can be new."""
        at = max(len(self.text) - longest + 1, 0)
        self.text += text
        return at

    def take(self, end: int, *, keeps_blank: bool) -> str:
        """Return the text up to `end`, which is held no longer; with `keeps_blank`, white space at its end is."""
        if keeps_blank:
            found = _NOT_BLANK.search(self.text, self._blank, end)
            if found is None:
                self._blank = max(self._blank, end)
                return ""
            end = len(self.text[:end].rstrip())
        taken, self.text, self._blank = self.text[:end], self.text[end:], 0
        return taken
