"""Steps that cut out of a text, or extract from it, what regular expressions match."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import regex

from localai_flask.config.patterns import TIMEOUT_S, compiled, looks_ahead, too_slow

LONG_HELD = 4096
"""Characters from which on a held text is looked at again only when it has grown by a sixteenth: each look reads it
whole."""


class Search:
    """One regular expression, run within a time that all searches of a step share."""

    def __init__(self, source: str, key: str):
        self._pattern, self._source, self._key = compiled(source), source, key
        self._looks_ahead = looks_ahead(source)
        self._until = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._until = time.thread_time() + TIMEOUT_S

    def find(self, text: str, start: int = 0) -> regex.Match[str] | None:
        """Find the first match from `start` on."""
        return self._run(self._pattern.search, text, start)

    def can_go_on(self, text: str, start: int) -> bool:
        """Return whether a match that begins at `start` could reach the text's end, and so hang on what follows."""
        fullmatch, end = self._pattern.fullmatch, len(text)
        return bool(
            self._run(fullmatch, text, start, partial=True)
            or (self._looks_ahead and self._run(fullmatch, text, start, end - 1, partial=True))
        )

    def may_go_on(self, text: str, start: int) -> bool:
        """Return, in one go, whether that could be so anywhere from `start` on."""
        return self._looks_ahead or bool(self._run(self._pattern.search, text, start, partial=True))

    def _run(
        self,
        search: Callable[..., regex.Match[str] | None],
        text: str,
        start: int,
        end: int | None = None,
        partial: bool = False,
    ) -> regex.Match[str] | None:
        left = self._until - time.thread_time()
        try:
            if left <= 0:
                raise TimeoutError
            return search(text, start, end, partial=partial, timeout=left)
        except TimeoutError:
            raise too_slow(self._key, self._source) from None


class Cut:
    """Takes out everything that a regular expression matches."""

    def __init__(self, source: str):
        self._search = Search(source, "cutstrings")
        self._held = ""
        """Text that may begin a match, behind the one character that was said last, if there is one."""
        self._start = 0
        self._looked_at = 0

    def feed(self, text: str) -> str:
        self._held += text
        length = len(self._held)
        if length > LONG_HELD and self._start < self._looked_at and length < self._looked_at * 17 // 16:
            return ""
        self._looked_at = 0
        return self._cut(is_whole=False)

    def flush(self) -> str:
        return self._cut(is_whole=True)

    def _cut(self, is_whole: bool) -> str:
        search, text, at = self._search, self._held, self._start
        search.begin()
        said: list[str] = []
        stop = len(text)
        while at <= len(text):
            match = search.find(text, at)
            end = len(text) if match is None else match.start()
            hold = None if is_whole else self._hold_from(text, at, end)
            if hold is not None or match is None:
                stop = end if hold is None else hold
                said.append(text[at:stop])
                break
            said.append(text[at:end])
            at = match.end()
            if at == end:  # nothing to take out here; go on behind the next character
                said.append(text[at : at + 1])
                at += 1
        self._keep(text, stop)
        return "".join(said)

    def _hold_from(self, text: str, at: int, end: int) -> int | None:
        """Return the first place, up to `end`, where a match may begin that more text could change."""
        if not self._search.may_go_on(text, at):
            return None
        places = range(at, min(end + 1, len(text)))
        return next((place for place in places if self._search.can_go_on(text, place)), None)

    def _keep(self, text: str, hold: int) -> None:
        self._start = min(hold, 1)
        self._held = text[hold - self._start :]
        self._looked_at = len(self._held)


class Extract:
    """Yields the first match of each regular expression, or the whole text if there is none; at its end."""

    def __init__(self, sources: Sequence[str]):
        self._searches = [Search(source, "extract_regex") for source in sources]
        self._pieces: list[str] = []

    def feed(self, text: str) -> str:
        self._pieces.append(text)
        return ""

    def flush(self) -> str:
        text = "".join(self._pieces)
        found = []
        for search in self._searches:
            search.begin()
            if match := search.find(text):
                found.append(match.group())
        return "".join(found) or text
