"""What a model's YAML wants done to its answers' text: cutting, extracting and trimming, while it streams.

Each step is a small state machine that holds back only what the text to come could still change, so that a stream adds
up to what the whole text would have become, however it was cut. Knows no reasoning and no tool calls: it is given the
content that is left when those are taken out.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
import regex

from localai_flask.chat.answer import Content, Event, Finish
from localai_flask.config.model import ModelConfig
from localai_flask.config.patterns import TIMEOUT_S, compiled, looks_ahead, too_slow
from localai_flask.generation import Delta, Finished, TokenLogprob

LONG_HELD = 4096
"""Characters from which on a held text is looked at again only when it has grown by a sixteenth: each look reads it
whole."""


class Reader(Protocol):
    """Reads one answer: text in, events out."""

    def feed(self, delta: Delta) -> list[Event]: ...

    def finish(self, finished: Finished) -> list[Event]: ...


class Step(Protocol):
    """One thing that is done to a text; `flush` gives what is left at its end."""

    def feed(self, text: str) -> str: ...

    def flush(self) -> str: ...


def finished_as(config: ModelConfig, reader: Reader) -> Reader:
    """Return a reader whose content is finished as the model's YAML says; the same one if it says nothing."""
    make_steps = steps_for(config.cutstrings, config.extract_regex, config.trimspace, config.trimsuffix)
    return FinishingReader(reader, make_steps) if make_steps else reader


@functools.lru_cache(maxsize=256)
def steps_for(
    cut: Sequence[str], extract: Sequence[str], trim: Sequence[str], trim_end: Sequence[str]
) -> tuple[Callable[[], Step], ...]:
    """Return the makers of the steps, in LocalAI's order."""
    makers: list[Callable[[], Step]] = [functools.partial(Cut, source) for source in cut]
    if extract:
        makers.append(functools.partial(Extract, extract))
    for prefix in trim:
        makers += [functools.partial(TrimPrefix, prefix), Strip]
    for suffix in trim_end:
        makers += [functools.partial(TrimSuffix, suffix), Strip]
    return tuple(makers)


class FinishingReader:
    """Passes another reader's events on, with their content finished."""

    def __init__(self, reader: Reader, make_steps: Iterable[Callable[[], Step]]):
        self._reader = reader
        self._text = Pipeline([make() for make in make_steps])
        self._logprobs: list[TokenLogprob] = []
        """Those of content that is held back or gone."""

    def feed(self, delta: Delta) -> list[Event]:
        return [event for each in self._reader.feed(delta) for event in self._finished(each)]

    def finish(self, finished: Finished) -> list[Event]:
        return [event for each in self._reader.finish(finished) for event in self._finished(each)]

    def _finished(self, event: Event) -> list[Event]:
        match event:
            case Content(text, logprobs):
                return self._content(self._text.feed(text), logprobs)
            case Finish():
                rest = self._content(self._text.flush(), [])
                kept, self._logprobs = self._logprobs, []
                return [*rest, msgspec.structs.replace(event, logprobs=kept + event.logprobs)]
        return [event]

    def _content(self, text: str, logprobs: list[TokenLogprob]) -> list[Event]:
        self._logprobs += logprobs
        if not text:
            return []
        taken, self._logprobs = self._logprobs, []
        return [Content(text, taken)]


class PrefixedReader:
    """Lets another reader read some text before the model's own."""

    def __init__(self, reader: Reader, prefix: str):
        self._reader, self._prefix = reader, prefix

    def feed(self, delta: Delta) -> list[Event]:
        return self._reader.feed(self._with_prefix(delta))

    def finish(self, finished: Finished) -> list[Event]:
        events = self._reader.feed(self._with_prefix(Delta(""))) if self._prefix else []
        return events + self._reader.finish(finished)

    def _with_prefix(self, delta: Delta) -> Delta:
        prefix, self._prefix = self._prefix, ""
        return Delta(prefix).followed_by(delta) if prefix else delta


class Pipeline:
    """Steps one after the other."""

    def __init__(self, steps: Sequence[Step]):
        self._steps = steps

    def feed(self, text: str) -> str:
        return self._through(text, self._steps)

    def flush(self) -> str:
        text = ""
        for step in self._steps:
            text = (step.feed(text) if text else "") + step.flush()
        return text

    @staticmethod
    def _through(text: str, steps: Sequence[Step]) -> str:
        for step in steps:
            if not text:
                break
            text = step.feed(text)
        return text


class Strip:
    """Takes off white space at both ends."""

    def __init__(self) -> None:
        self._has_begun = False
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        if not self._has_begun:
            text = text.lstrip()
            self._has_begun = bool(text)
        kept = text.rstrip()
        self._held = text[len(kept) :]
        return kept

    def flush(self) -> str:
        return ""


class TrimPrefix:
    """Takes off a beginning."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._held = ""
        self._is_settled = not prefix

    def feed(self, text: str) -> str:
        if self._is_settled:
            return text
        self._held += text
        if len(self._held) < len(self._prefix) and self._prefix.startswith(self._held):
            return ""
        self._is_settled = True
        return self._held.removeprefix(self._prefix)

    def flush(self) -> str:
        return "" if self._is_settled else self._held


class TrimSuffix:
    """Takes off an ending."""

    def __init__(self, suffix: str):
        self._suffix = suffix
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        for start in range(max(len(text) - len(self._suffix), 0), len(text)):
            if self._suffix.startswith(text[start:]):
                self._held = text[start:]
                return text[:start]
        self._held = ""
        return text

    def flush(self) -> str:
        return self._held.removesuffix(self._suffix) if self._suffix else self._held


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
    """Gives the first match of each regular expression, or the whole text if there is none; at its end."""

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
