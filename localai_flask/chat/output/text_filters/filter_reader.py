"""The reader that does to an answer's content what the model's YAML says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import msgspec

from localai_flask.chat.answer import Content, Event, Finish, Reader
from localai_flask.chat.output.text_filters.expressions import Cut, Extract
from localai_flask.chat.output.text_filters.trimming import Pipeline, Step, Strip, TrimPrefix, TrimSuffix
from localai_flask.config.model import ModelConfig
from localai_flask.generation import Delta, Finished, TokenLogprob


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
