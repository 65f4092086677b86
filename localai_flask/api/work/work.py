"""One request's work on a model: a place, a session with the pool, and the sequences that run for it.

Shared by all API families: what comes out are the events of `chat.answer`, and everything is given back by `close`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from flask import request

from localai_flask.api import current
from localai_flask.api.door.places import settle, take_place
from localai_flask.api.request.waiting import (
    NO_WISHES,
    Waiting,
    check_has_come,
    check_loading_time,
    terms_of,
    time_left,
)
from localai_flask.api.work.plans import Planned, await_plan
from localai_flask.api.work.progress import Waits
from localai_flask.api.work.watch import Watch
from localai_flask.chat.answer import Answer, Enough, Event, Reader
from localai_flask.chat.output.prompt_only import PromptOnly
from localai_flask.chat.output.text_filters.filter_reader import finished_as
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ContextOverflow, ErrorInfo, InvalidRequest
from localai_flask.generation import Delta, Finished, FinishReason, ModelInfo, Prompt, PromptLogprobs, Started
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.metrics.sequence_meter import Measured, SequenceMeter
from localai_flask.pool.client.inbox import BEAT_S
from localai_flask.pool.client.session import Session
from localai_flask.sampling_params import SamplingParams

log = logging.getLogger("gunicorn.error")

TELLING_BEAT_S = 0.25
"""To those who ask how far it is, something is said more often."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """What to run, and how to read each one's text; `prompt_field` is the field that the prompts come from.

    `at_once` as in `Session.generate`.
    """

    requests: list[tuple[Prompt, SamplingParams]]
    readers: Sequence[Reader]
    prompt_field: str | None = None
    at_once: int = 0


Plan = Callable[[ModelInfo], Planned[Sequences]]
Item = tuple[int, Event | Waits] | float | None
"""An event and its sequence's index; or the progress of loading (0 to 1); or nothing new.

To those who ask, with `tells_progress`, also how far a sequence is that has nothing to say yet.
"""


class Watching(Protocol):
    """Raises what has to stop the work, if anything has; the record is that of whatever the work is for."""

    @property
    def record(self) -> RequestRecord: ...

    def check(self) -> None: ...


class Work:
    """Iterates over the events of all sequences, with an item at least every half second.

    Nothing begins before the first item is asked for. `plan` makes the sequences once the model is ready; `shrink`
    makes smaller ones where a prompt does not fit, or None. Iterating raises whatever `ApiError` ends the work, and
    what `watch` raises, which without one given looks at the request's client.
    """

    def __init__(
        self,
        config: ModelConfig,
        plan: Plan,
        shrink: Callable[[ModelInfo, ErrorInfo], Planned[Sequences] | None] | None = None,
        watch: Watching | None = None,
        waiting: Waiting = NO_WISHES,
    ):
        self._config = config
        self._plan = plan
        self._shrink = shrink
        self._pool = current.pool()
        self._waiting = waiting
        self.tells_progress = waiting.tells_progress
        self._beat_s = TELLING_BEAT_S if waiting.tells_progress else BEAT_S
        self._begun = time.monotonic()
        self._logs_prompts = current.settings().log_prompts
        self._keep_alive_s = waiting.keep_alive_s
        self._watch = watch or Watch(request.environ)
        self.record = self._watch.record
        self._terms = terms_of(waiting, self.record.trace)
        self._counts = current.counts()
        self._meters: list[SequenceMeter] = []
        self._place = take_place()
        self._items = self._run()

    def __iter__(self) -> Iterator[Item]:
        return self._items

    def close(self) -> None:
        """Cancel what still runs and give the place back; may be called again."""
        self._items.close()
        self._place.release()

    def events(self) -> Iterator[tuple[int, Event]]:
        """Run, and yield what belongs to the answers."""
        for item in self._items:
            if isinstance(item, tuple) and not isinstance(item[1], Waits):
                yield item[0], item[1]

    def so_far(self, index: int) -> Measured | None:
        """Return how many tokens of a sequence there are, and how long they took; None before the first."""
        return self._meters[index].so_far()

    def answers(self) -> list[Answer]:
        """Run to the end and collect the whole answers, one for each sequence."""
        collected: dict[int, Answer] = {}
        try:
            for index, event in self.events():
                collected.setdefault(index, Answer()).add(event)
        finally:
            self.close()
        return [collected[index] for index in sorted(collected)]

    def _run(self) -> Generator[Item, None, None]:
        session = self._pool.session(self._config)
        session.keep_alive_s = self._keep_alive_s
        self.record.await_model(self._config.name)
        if not self._pool.is_loaded(self._config):
            settle()
        for progress in session.wait_ready(self._beat_s):
            self._watch.check()
            check_loading_time(self._config, self._terms, self._begun, progress)
            check_has_come(self._config, self._waiting, self._begun, progress, is_engine=session.coming == "engine")
            yield progress
        if "generate" not in session.info.capabilities:
            raise InvalidRequest(f"The model {self._config.name!r} does not generate text.", param="model")
        planned: Planned[Sequences] | None = self._plan(session.info)
        while planned is not None:
            sequences = yield from await_plan(planned, self._watch.check, self._terms, self._begun)
            try:
                yield from self._generate(session, sequences)
                return
            except ApiError as error:
                planned = self._shrunk(session.info, error.info)
                if planned is None and error.info.code == ContextOverflow.code and error.info.param is None:
                    error.info = msgspec.structs.replace(error.info, param=sequences.prompt_field)
                if planned is None:
                    raise

    def _shrunk(self, info: ModelInfo, error: ErrorInfo) -> Planned[Sequences] | None:
        # An engine refuses a prompt that does not fit before anything else, so nothing was said yet.
        overflows = error.code == ContextOverflow.code
        return self._shrink(info, error) if self._shrink is not None and overflows else None

    def _generate(self, session: Session, sequences: Sequences) -> Generator[Item, None, None]:
        self.record.can_end_thinking = any(sampling.thinking is not None for _, sampling in sequences.requests)
        self.record.submit()
        self._meters = meters = [self._meter(sampling) for _, sampling in sequences.requests]
        try:
            yield from self._events(session, sequences, meters)
        except ApiError as error:
            for meter in meters:
                meter.fail(error.info)
            raise
        finally:
            for meter in meters:
                meter.abort()
            self.record.ended = time.monotonic()

    def _meter(self, sampling: SamplingParams) -> SequenceMeter:
        return SequenceMeter(self._counts, self.record, self._config.name, sampling.max_tokens)

    def _events(
        self, session: Session, sequences: Sequences, meters: Sequence[SequenceMeter]
    ) -> Generator[Item, None, None]:
        readers = [
            PromptOnly() if sampling.prompt_only else finished_as(self._config, reader)
            for reader, (_, sampling) in zip(sequences.readers, sequences.requests, strict=True)
        ]
        if self._logs_prompts:
            for prompt, _ in sequences.requests:
                log.info("model %s is asked: %r", self._config.name, prompt)
        generation = session.generate(sequences.requests, time_left(self._terms, self._begun), sequences.at_once)
        settle()
        try:
            for beat in generation.events(self._beat_s):
                self._watch.check()
                if self.record.ends_thinking:
                    generation.end_thinking()
                if beat is None:
                    yield None
                    continue
                index, reply = beat
                meters[index].add(reply)
                events = _read(readers[index], reply)
                if isinstance(reply, Delta) and any(isinstance(event, Enough) for event in events):
                    generation.cancel(index)
                    events += readers[index].finish(meters[index].finished(FinishReason.TOOL_CALLS))
                for event in events:
                    if not isinstance(event, Enough):
                        yield index, event
                if isinstance(reply, Waits):
                    yield index, reply
                elif not events:
                    yield None
        finally:
            generation.close()


def _read(reader: Reader, reply: object) -> list[Event]:
    match reply:
        case Delta():
            return reader.feed(reply)
        case Finished():
            return reader.finish(reply)
        case Started() | PromptLogprobs():
            return [reply]
    return []
