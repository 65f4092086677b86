"""Finding markers in a text that comes in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable


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
        """Return where the ending of `text` begins that may become a marker, or the end of the text."""
        longest = len(self._all[0]) if self._all else 0
        at = max(len(text) - longest + 1, start)
        while self._may_begin and (found := self._may_begin(text, at)):
            ending = text[found.start() :]
            if any(len(marker) > len(ending) and marker.startswith(ending) for marker in self._all):
                return found.start()
            at = found.start() + 1
        return len(text)
